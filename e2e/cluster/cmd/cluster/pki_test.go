package main

import (
	"crypto/x509"
	"encoding/pem"
	"testing"
)

func TestCertificates(t *testing.T) {
	ca, err := newAuthority("test")
	if err != nil {
		t.Fatal(err)
	}
	other, err := newAuthority("test")
	if err != nil {
		t.Fatal(err)
	}
	parse := func(made identity, err error) *x509.Certificate {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		block, _ := pem.Decode(made.certificate)
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		return certificate
	}
	client := parse(ca.client("user", "system:nodes"))
	if client.Subject.CommonName != "user" || client.Subject.Organization[0] != "system:nodes" {
		t.Errorf("subject %s", client.Subject)
	}
	server := parse(ca.server([]string{"kubernetes.default.svc"}, "198.19.0.1"))
	for _, one := range []struct {
		what  string
		by    *authority
		name  string
		usage x509.ExtKeyUsage
		of    *x509.Certificate
		good  bool
	}{
		{"a server by its name", ca, "kubernetes.default.svc", x509.ExtKeyUsageServerAuth, server, true},
		{"a server by its address", ca, "198.19.0.1", x509.ExtKeyUsageServerAuth, server, true},
		{"a server by another address", ca, "198.19.0.2", x509.ExtKeyUsageServerAuth, server, false},
		{"a client", ca, "", x509.ExtKeyUsageClientAuth, client, true},
		{"a client as a server", ca, "", x509.ExtKeyUsageServerAuth, client, false},
		{"a client of another authority", other, "", x509.ExtKeyUsageClientAuth, client, false},
	} {
		roots := x509.NewCertPool()
		roots.AddCert(one.by.certificate)
		_, err := one.of.Verify(x509.VerifyOptions{Roots: roots, DNSName: one.name, KeyUsages: []x509.ExtKeyUsage{one.usage}})
		if (err == nil) != one.good {
			t.Errorf("%s: %v", one.what, err)
		}
	}
}
