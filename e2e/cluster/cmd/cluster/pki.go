package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// certificateLife is longer than any test. Certificates are not renewed.
const certificateLife = 365 * 24 * time.Hour

// An authority is a CA. Its key exists only in memory during a start.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	pem         []byte
}

// An identity is a certificate and its key, in PEM.
type identity struct {
	certificate, key []byte
}

func newAuthority(name string) (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	unsigned := newCertificate(pkix.Name{CommonName: name})
	unsigned.IsCA = true
	unsigned.BasicConstraintsValid = true
	unsigned.KeyUsage |= x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, unsigned, unsigned, key.Public(), key)
	if err != nil {
		return nil, err
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &authority{certificate: certificate, key: key, pem: pemBlock("CERTIFICATE", der)}, nil
}

// newCertificate returns a template without key usages.
func newCertificate(subject pkix.Name) *x509.Certificate {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		panic(err) // reading random numbers from the kernel does not fail
	}
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      subject,
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(certificateLife),
		KeyUsage:     x509.KeyUsageDigitalSignature,
	}
}

func pemBlock(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func (a *authority) sign(certificate *x509.Certificate) (identity, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return identity{}, err
	}
	der, err := x509.CreateCertificate(rand.Reader, certificate, a.certificate, key.Public(), a.key)
	if err != nil {
		return identity{}, err
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return identity{}, err
	}
	return identity{pemBlock("CERTIFICATE", der), pemBlock("EC PRIVATE KEY", keyDER)}, nil
}

// client issues a certificate for a user and groups of Kubernetes.
func (a *authority) client(user string, groups ...string) (identity, error) {
	certificate := newCertificate(pkix.Name{CommonName: user, Organization: groups})
	certificate.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	return a.sign(certificate)
}

// server issues a certificate for these DNS names and addresses.
func (a *authority) server(names []string, addresses ...string) (identity, error) {
	certificate := newCertificate(pkix.Name{CommonName: names[0]})
	certificate.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	certificate.DNSNames = names
	for _, address := range addresses {
		certificate.IPAddresses = append(certificate.IPAddresses, net.ParseIP(address))
	}
	return a.sign(certificate)
}

// kubeconfig returns a self-contained kubeconfig for a user.
func (a *authority) kubeconfig(p Plan, user identity) []byte {
	encode := base64.StdEncoding.EncodeToString
	return fmt.Appendf(nil, `apiVersion: v1
kind: Config
current-context: %[1]s
contexts:
- name: %[1]s
  context: {cluster: %[1]s, user: %[1]s}
clusters:
- name: %[1]s
  cluster:
    server: %[2]s
    certificate-authority-data: %[3]s
users:
- name: %[1]s
  user:
    client-certificate-data: %[4]s
    client-key-data: %[5]s
`, p.NodeName(), p.Server(), encode(a.pem), encode(user.certificate), encode(user.key))
}

// writePKI creates all keys of a new cluster: certificates in the node's folder nodePKI,
// and a kubeconfig for each program and the administrator.
func writePKI(p Plan) error {
	folder := p.Outside(nodePKI)
	ca, err := newAuthority("switchyard-cluster")
	if err != nil {
		return err
	}
	frontProxyCA, err := newAuthority("switchyard-front-proxy")
	if err != nil {
		return err
	}
	files := map[string][]byte{"ca.crt": ca.pem, "front-proxy-ca.crt": frontProxyCA.pem}
	add := func(name string, made identity, err error) error {
		files[name+".crt"], files[name+".key"] = made.certificate, made.key
		return err
	}
	apiServer, err := ca.server(
		[]string{"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local", p.NodeName(), "localhost"},
		"127.0.0.1", p.NodeIP.String(), p.APIServiceIP.String())
	if err := add("apiserver", apiServer, err); err != nil {
		return err
	}
	kubelet, err := ca.server([]string{p.NodeName()}, p.NodeIP.String())
	if err := add("kubelet", kubelet, err); err != nil {
		return err
	}
	toKubelet, err := ca.client("kube-apiserver-kubelet-client", "system:masters")
	if err := add("apiserver-kubelet-client", toKubelet, err); err != nil {
		return err
	}
	frontProxy, err := frontProxyCA.client("front-proxy-client")
	if err := add("front-proxy-client", frontProxy, err); err != nil {
		return err
	}
	tokens, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	tokensDER, err := x509.MarshalECPrivateKey(tokens)
	if err != nil {
		return err
	}
	files["service-accounts.key"] = pemBlock("EC PRIVATE KEY", tokensDER)
	for _, user := range []struct{ file, name, group string }{
		{"admin", "switchyard-admin", "system:masters"},
		{"kube-controller-manager", "system:kube-controller-manager", ""},
		{"kube-scheduler", "system:kube-scheduler", ""},
		{"kube-proxy", "system:kube-proxy", ""},
		{"kubelet", "system:node:" + p.NodeName(), "system:nodes"},
		{"provisioner", "switchyard:volume-provisioner", ""},
	} {
		var groups []string
		if user.group != "" {
			groups = append(groups, user.group)
		}
		client, err := ca.client(user.name, groups...)
		if err != nil {
			return err
		}
		files[user.file+".kubeconfig"] = ca.kubeconfig(p, client)
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(folder, name), content, 0o600); err != nil {
			return err
		}
	}
	return os.WriteFile(p.Kubeconfig(), files["admin.kubeconfig"], 0o600)
}
