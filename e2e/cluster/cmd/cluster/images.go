package main

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	goruntime "runtime"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// An archive is one image in the manifest of a docker-archive.
type archive struct {
	// Config is the image's id without "sha256:", as in the container runtime.
	Config string
	// Tags are the names of the image.
	Tags []string
}

// readArchive reads the manifest of a docker-archive file.
func readArchive(file io.Reader) ([]archive, error) {
	entries := tar.NewReader(file)
	for {
		entry, err := entries.Next()
		if errors.Is(err, io.EOF) {
			return nil, errors.New("it has no manifest.json: write it with `buildah push IMAGE docker-archive:FILE` or `docker save`")
		}
		if err != nil {
			return nil, fmt.Errorf("it is not a tar file (%w): write it with `buildah push IMAGE docker-archive:FILE` or `docker save`", err)
		}
		if entry.Name != "manifest.json" {
			continue
		}
		var manifest []struct {
			Config   string
			RepoTags []string
		}
		if err := json.NewDecoder(entries).Decode(&manifest); err != nil {
			return nil, fmt.Errorf("its manifest.json cannot be read: %w", err)
		}
		var images []archive
		for _, image := range manifest {
			id := strings.TrimSuffix(filepath.Base(image.Config), ".json")
			images = append(images, archive{Config: id, Tags: image.RepoTags})
		}
		return images, nil
	}
}

// writeArchive writes a docker-archive of an image with one static program, named as
// in the tag, which runs without root. Equal programs give equal files.
func writeArchive(to io.Writer, tag string, program []byte) error {
	name := programName(tag)
	var layer bytes.Buffer
	layerTar := tar.NewWriter(&layer)
	if err := addFile(layerTar, name, 0o755, program); err != nil {
		return err
	}
	if err := layerTar.Close(); err != nil {
		return err
	}
	type object = map[string]any
	config, err := json.Marshal(object{
		"architecture": goruntime.GOARCH, "os": "linux", "created": "1970-01-01T00:00:00Z",
		"config":  object{"Entrypoint": []string{"/" + name}, "User": "65532:65532", "WorkingDir": "/"},
		"rootfs":  object{"type": "layers", "diff_ids": []string{digest(layer.Bytes())}},
		"history": []object{{"created": "1970-01-01T00:00:00Z", "created_by": "switchyard-cluster"}},
	})
	if err != nil {
		return err
	}
	configName := strings.TrimPrefix(digest(config), "sha256:") + ".json"
	manifest, err := json.Marshal([]object{{"Config": configName, "RepoTags": []string{tag}, "Layers": []string{"layer.tar"}}})
	if err != nil {
		return err
	}
	all := tar.NewWriter(to)
	for _, file := range []struct {
		name    string
		content []byte
	}{{"manifest.json", manifest}, {configName, config}, {"layer.tar", layer.Bytes()}} {
		if err := addFile(all, file.name, 0o644, file.content); err != nil {
			return err
		}
	}
	return all.Close()
}

func addFile(to *tar.Writer, name string, mode int64, content []byte) error {
	if err := to.WriteHeader(&tar.Header{Name: name, Mode: mode, Size: int64(len(content)), ModTime: time.Unix(0, 0)}); err != nil {
		return err
	}
	_, err := to.Write(content)
	return err
}

func digest(content []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(content)) }

// programName is the last part of a tag without its version, for example "pause" of
// "localhost/switchyard/pause:1".
func programName(tag string) string {
	name, _, _ := strings.Cut(path.Base(tag), ":")
	return name
}

// archiveOf returns the path of the archive of a program's image, next to the program,
// and writes it if it is missing. The file name of the program contains a hash of it.
func archiveOf(program, tag string) (string, error) {
	file := program + ".image.tar"
	if _, err := os.Stat(file); err == nil {
		return file, nil
	}
	content, err := os.ReadFile(program)
	if err != nil {
		return "", err
	}
	fresh, err := os.CreateTemp(filepath.Dir(file), ".image-*")
	if err != nil {
		return "", err
	}
	defer os.Remove(fresh.Name())
	if err := writeArchive(fresh, tag, content); err != nil {
		fresh.Close()
		return "", err
	}
	if err := fresh.Close(); err != nil {
		return "", err
	}
	return file, os.Rename(fresh.Name(), file)
}

// A runtime is a connection from the machine to the container runtime of a cluster.
type runtime struct {
	socket string
	images cri.ImageServiceClient
	close  func() error
}

func openRuntime(p Plan) (*runtime, error) {
	socket := p.Outside(containerdSock)
	connection, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, err
	}
	return &runtime{socket: socket, images: cri.NewImageServiceClient(connection), close: connection.Close}, nil
}

// await waits until the runtime answers.
func (r *runtime) await(ctx context.Context) error {
	for {
		_, err := r.images.ListImages(ctx, &cri.ListImagesRequest{})
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("containerd does not answer: %w", err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// has reports whether the runtime has every image of an archive under all its names.
func (r *runtime) has(ctx context.Context, images []archive) (bool, error) {
	for _, image := range images {
		for _, tag := range image.Tags {
			answer, err := r.images.ImageStatus(ctx, &cri.ImageStatusRequest{Image: &cri.ImageSpec{Image: tag}})
			if err != nil {
				return false, err
			}
			if answer.Image == nil || strings.TrimPrefix(answer.Image.Id, "sha256:") != image.Config {
				return false, nil
			}
		}
	}
	return true, nil
}

// load imports the images of a docker-archive file, and reports whether they were new.
func (r *runtime) load(ctx context.Context, archivePath string) (fresh bool, err error) {
	file, err := os.Open(archivePath)
	if err != nil {
		return false, err
	}
	defer file.Close()
	images, err := readArchive(file)
	if err != nil {
		return false, fmt.Errorf("cannot load %s: %w", archivePath, err)
	}
	if exists, err := r.has(ctx, images); err != nil || exists {
		return false, err
	}
	output, err := exec.CommandContext(ctx, "ctr", "--address", r.socket, "--namespace", "k8s.io", "images", "import", archivePath).CombinedOutput()
	if err != nil {
		return false, fmt.Errorf("cannot load %s: %s", archivePath, bytes.TrimSpace(output))
	}
	return true, nil
}
