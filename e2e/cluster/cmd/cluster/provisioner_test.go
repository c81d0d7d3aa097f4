package main

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	core "k8s.io/api/core/v1"
	storage "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
)

func claimAndClass(binding storage.VolumeBindingMode, annotations map[string]string) (*core.PersistentVolumeClaim, *storage.StorageClass) {
	reclaim, className := core.PersistentVolumeReclaimDelete, "local"
	claim := &core.PersistentVolumeClaim{
		ObjectMeta: meta.ObjectMeta{Namespace: "default", Name: "data", UID: "1234", Annotations: annotations},
		Spec: core.PersistentVolumeClaimSpec{
			StorageClassName: &className,
			AccessModes:      []core.PersistentVolumeAccessMode{core.ReadWriteOnce},
			Resources:        core.VolumeResourceRequirements{Requests: core.ResourceList{core.ResourceStorage: resource.MustParse("1Gi")}},
		},
	}
	class := &storage.StorageClass{
		ObjectMeta: meta.ObjectMeta{Name: className}, Provisioner: provisionerName, ReclaimPolicy: &reclaim, VolumeBindingMode: &binding,
	}
	return claim, class
}

func TestPending(t *testing.T) {
	p := provisioner{node: "node"}
	for _, one := range []struct {
		what        string
		binding     storage.VolumeBindingMode
		annotations map[string]string
		want        bool
	}{
		{"a pod is scheduled here", storage.VolumeBindingWaitForFirstConsumer, map[string]string{askedFor: provisionerName, selectedNode: "node"}, true},
		{"no pod yet", storage.VolumeBindingWaitForFirstConsumer, map[string]string{askedFor: provisionerName}, false},
		{"another node", storage.VolumeBindingWaitForFirstConsumer, map[string]string{askedFor: provisionerName, selectedNode: "other"}, false},
		{"at once", storage.VolumeBindingImmediate, map[string]string{askedFor: provisionerName}, true},
		{"another provisioner", storage.VolumeBindingImmediate, map[string]string{askedFor: "other"}, false},
		{"not asked for", storage.VolumeBindingImmediate, nil, false},
	} {
		claim, class := claimAndClass(one.binding, one.annotations)
		if got := p.pending(claim, class); got != one.want {
			t.Errorf("%s: pending = %v", one.what, got)
		}
		claim.Spec.VolumeName = "bound"
		if p.pending(claim, class) {
			t.Errorf("%s: a bound claim is pending", one.what)
		}
	}
}

func TestVolumeLifecycle(t *testing.T) {
	claim, class := claimAndClass(storage.VolumeBindingWaitForFirstConsumer, map[string]string{askedFor: provisionerName, selectedNode: "node"})
	p := provisioner{client: fake.NewClientset(class), node: "node", folder: t.TempDir()}
	ctx := context.Background()
	for range 2 { // the second call finds the volume
		if err := p.provide(ctx, claim); err != nil {
			t.Fatal(err)
		}
	}
	volume, err := p.client.CoreV1().PersistentVolumes().Get(ctx, "pvc-1234", meta.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	folder := filepath.Join(p.folder, "pvc-1234")
	if info, err := os.Stat(folder); err != nil || info.Mode().Perm() != 0o777 {
		t.Fatalf("folder: %v, %v", info, err)
	}
	if volume.Spec.Local.Path != folder || volume.Spec.ClaimRef.UID != "1234" || volume.Spec.NodeAffinity.Required.NodeSelectorTerms[0].MatchExpressions[0].Values[0] != "node" {
		t.Errorf("volume: %+v", volume.Spec)
	}

	if err := p.reclaim(ctx, volume); err != nil { // not released yet
		t.Fatal(err)
	}
	if _, err := os.Stat(folder); err != nil {
		t.Fatal("a volume in use was removed")
	}
	volume.Status.Phase = core.VolumeReleased
	if err := p.reclaim(ctx, volume); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(folder); !os.IsNotExist(err) {
		t.Error("the folder is left")
	}
	if left, _ := p.client.CoreV1().PersistentVolumes().List(ctx, meta.ListOptions{}); len(left.Items) != 0 {
		t.Error("the volume is left")
	}
}

func TestReclaimTouchesNoOtherFolder(t *testing.T) {
	other := t.TempDir()
	p := provisioner{client: fake.NewClientset(), node: "node", folder: t.TempDir()}
	claim, class := claimAndClass(storage.VolumeBindingImmediate, nil)
	volume := p.volume(claim, class)
	volume.Status.Phase = core.VolumeReleased
	volume.Spec.Local.Path = other
	if err := p.reclaim(context.Background(), volume); err == nil {
		t.Error("a folder outside of the provisioner's was accepted")
	}
	if _, err := os.Stat(other); err != nil {
		t.Error("and removed")
	}
}
