package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	core "k8s.io/api/core/v1"
	storage "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
)

// provisionerName is the name in StorageClasses and in annotations of claims.
const provisionerName = "switchyard.dev/local"

// Annotations of Kubernetes' volume controller and scheduler for provisioners.
const (
	askedFor      = "volume.kubernetes.io/storage-provisioner"
	selectedNode  = "volume.kubernetes.io/selected-node"
	provisionedBy = "pv.kubernetes.io/provisioned-by"
)

// A provisioner creates a folder for every claim of its class, and removes it with the
// claim.
type provisioner struct {
	client kubernetes.Interface
	node   string
	folder string
}

// pending reports whether a claim waits for a volume from this node. With a class that
// waits for the first consumer, the scheduler selects the node.
func (p provisioner) pending(claim *core.PersistentVolumeClaim, class *storage.StorageClass) bool {
	if claim.Spec.VolumeName != "" || claim.DeletionTimestamp != nil || claim.Annotations[askedFor] != provisionerName {
		return false
	}
	waits := class.VolumeBindingMode != nil && *class.VolumeBindingMode == storage.VolumeBindingWaitForFirstConsumer
	node := claim.Annotations[selectedNode]
	return node == p.node || (node == "" && !waits)
}

// volume returns the volume for a claim. It is a "local" volume, because the kubelet
// does not apply the fsGroup of a pod to a "hostPath".
func (p provisioner) volume(claim *core.PersistentVolumeClaim, class *storage.StorageClass) *core.PersistentVolume {
	name := "pvc-" + string(claim.UID)
	mode := core.PersistentVolumeFilesystem
	return &core.PersistentVolume{
		ObjectMeta: meta.ObjectMeta{Name: name, Annotations: map[string]string{provisionedBy: provisionerName}},
		Spec: core.PersistentVolumeSpec{
			Capacity:                      core.ResourceList{core.ResourceStorage: claim.Spec.Resources.Requests[core.ResourceStorage]},
			AccessModes:                   claim.Spec.AccessModes,
			VolumeMode:                    &mode,
			PersistentVolumeReclaimPolicy: *class.ReclaimPolicy,
			StorageClassName:              class.Name,
			ClaimRef: &core.ObjectReference{
				APIVersion: "v1", Kind: "PersistentVolumeClaim",
				Namespace: claim.Namespace, Name: claim.Name, UID: claim.UID, ResourceVersion: claim.ResourceVersion,
			},
			PersistentVolumeSource: core.PersistentVolumeSource{Local: &core.LocalVolumeSource{Path: filepath.Join(p.folder, name)}},
			NodeAffinity: &core.VolumeNodeAffinity{Required: &core.NodeSelector{NodeSelectorTerms: []core.NodeSelectorTerm{{
				MatchExpressions: []core.NodeSelectorRequirement{{Key: core.LabelHostname, Operator: core.NodeSelectorOpIn, Values: []string{p.node}}},
			}}}},
		},
	}
}

// provide creates the volume of a pending claim.
func (p provisioner) provide(ctx context.Context, claim *core.PersistentVolumeClaim) error {
	if claim.Spec.StorageClassName == nil || claim.Annotations[askedFor] != provisionerName {
		return nil
	}
	class, err := p.client.StorageV1().StorageClasses().Get(ctx, *claim.Spec.StorageClassName, meta.GetOptions{})
	if err != nil {
		return err
	}
	if !p.pending(claim, class) {
		return nil
	}
	if claim.Spec.VolumeMode != nil && *claim.Spec.VolumeMode == core.PersistentVolumeBlock {
		fmt.Fprintf(os.Stderr, "%s/%s asks for a block device; there are folders only\n", claim.Namespace, claim.Name)
		return nil
	}
	volume := p.volume(claim, class)
	path := volume.Spec.Local.Path
	if err := os.MkdirAll(path, 0o777); err != nil {
		return err
	}
	// Open to all users, whatever the umask, because pods run as different users. The
	// kubelet restricts it for pods with an fsGroup.
	if err := os.Chmod(path, 0o777); err != nil {
		return err
	}
	_, err = p.client.CoreV1().PersistentVolumes().Create(ctx, volume, meta.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	fmt.Printf("created %s for %s/%s\n", volume.Name, claim.Namespace, claim.Name)
	return nil
}

// reclaim removes a volume of a deleted claim, with its content.
func (p provisioner) reclaim(ctx context.Context, volume *core.PersistentVolume) error {
	if volume.Annotations[provisionedBy] != provisionerName || volume.Status.Phase != core.VolumeReleased ||
		volume.Spec.PersistentVolumeReclaimPolicy != core.PersistentVolumeReclaimDelete || volume.DeletionTimestamp != nil {
		return nil
	}
	if volume.Spec.Local == nil || filepath.Dir(volume.Spec.Local.Path) != p.folder {
		return fmt.Errorf("volume %s is not a folder of this node", volume.Name)
	}
	if err := os.RemoveAll(volume.Spec.Local.Path); err != nil {
		return err
	}
	err := p.client.CoreV1().PersistentVolumes().Delete(ctx, volume.Name, meta.DeleteOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	fmt.Printf("removed %s\n", volume.Name)
	return nil
}

// run watches claims and volumes until the context ends.
func (p provisioner) run(ctx context.Context) error {
	factory := informers.NewSharedInformerFactory(p.client, 0)
	claims := factory.Core().V1().PersistentVolumeClaims().Informer()
	volumes := factory.Core().V1().PersistentVolumes().Informer()
	// The queue holds keys of objects, so only the latest state of each is processed.
	type key struct {
		store cache.Store
		name  string
	}
	queue := workqueue.NewTypedRateLimitingQueue(workqueue.NewTypedItemExponentialFailureRateLimiter[key](100*time.Millisecond, 10*time.Second))
	for _, informer := range []cache.SharedIndexInformer{claims, volumes} {
		add := func(object any) {
			if name, err := cache.MetaNamespaceKeyFunc(object); err == nil {
				queue.Add(key{informer.GetStore(), name})
			}
		}
		if _, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: add, UpdateFunc: func(_, new any) { add(new) }}); err != nil {
			return err
		}
	}
	factory.Start(ctx.Done())
	go func() {
		<-ctx.Done()
		queue.ShutDown()
	}()
	for {
		next, stopped := queue.Get()
		if stopped {
			return ctx.Err()
		}
		object, there, err := next.store.GetByKey(next.name)
		if err == nil && there {
			switch object := object.(type) {
			case *core.PersistentVolumeClaim:
				err = p.provide(ctx, object)
			case *core.PersistentVolume:
				err = p.reclaim(ctx, object)
			}
		}
		if err != nil && !errors.Is(err, context.Canceled) {
			fmt.Fprintf(os.Stderr, "%s: %v; tried again later\n", next.name, err)
			queue.AddRateLimited(next)
		} else {
			queue.Forget(next)
		}
		queue.Done(next)
	}
}
