package gitops

import (
	"context"
	"fmt"
	"strings"
	"testing"

	apiextensions "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	apischema "k8s.io/apimachinery/pkg/runtime/schema"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
)

// definition validates one version of a custom resource as the API server does.
type definition struct {
	structural *schema.Structural
	schema     validation.SchemaValidator
	rules      *cel.Validator
}

// definitions reads the custom resource definitions in these files.
func definitions(t *testing.T, paths ...string) map[apischema.GroupVersionKind]definition {
	t.Helper()
	found := map[apischema.GroupVersionKind]definition{}
	for _, path := range paths {
		for _, object := range objects(t, path) {
			var crd apiextensionsv1.CustomResourceDefinition
			if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &crd); err != nil {
				t.Fatalf("%s: %v", path, err)
			}
			for _, version := range crd.Spec.Versions {
				kind := apischema.GroupVersionKind{Group: crd.Spec.Group, Version: version.Name, Kind: crd.Spec.Names.Kind}
				one, err := newDefinition(version.Schema)
				if err != nil {
					t.Fatalf("%s: %v", path, err)
				}
				found[kind] = one
			}
		}
	}
	return found
}

func newDefinition(external *apiextensionsv1.CustomResourceValidation) (definition, error) {
	var internal apiextensions.CustomResourceValidation
	if err := apiextensionsv1.Convert_v1_CustomResourceValidation_To_apiextensions_CustomResourceValidation(external, &internal, nil); err != nil {
		return definition{}, err
	}
	structural, err := schema.NewStructural(internal.OpenAPIV3Schema)
	if err != nil {
		return definition{}, err
	}
	validator, _, err := validation.NewSchemaValidator(internal.OpenAPIV3Schema)
	if err != nil {
		return definition{}, err
	}
	return definition{structural, validator, cel.NewValidator(structural, true, celconfig.PerCallLimit)}, nil
}

// withDefaults returns the object with the defaults of its definition, as the API server stores it.
func (d definition) withDefaults(object *unstructured.Unstructured) *unstructured.Unstructured {
	object = object.DeepCopy()
	defaulting.Default(object.Object, d.structural)
	return object
}

// validate returns an error if the API server would reject the object or drop a part of it.
func (d definition) validate(object *unstructured.Unstructured) error {
	object = d.withDefaults(object)
	options := schema.UnknownFieldPathOptions{TrackUnknownFieldPaths: true}
	if unknown := pruning.PruneWithOptions(object.DeepCopy().Object, d.structural, true, options); len(unknown) > 0 {
		return fmt.Errorf("unknown fields: %s", strings.Join(unknown, ", "))
	}
	problems := validation.ValidateCustomResource(nil, object.Object, d.schema)
	if len(problems) == 0 && d.rules != nil {
		problems, _ = d.rules.Validate(context.Background(), nil, d.structural, object.Object, nil, celconfig.RuntimeCELCostBudget)
	}
	return problems.ToAggregate()
}
