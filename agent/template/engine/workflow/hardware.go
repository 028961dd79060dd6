package workflow

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	yamlv3 "gopkg.in/yaml.v3"
	"sigs.k8s.io/yaml"

	"nibs/agent/template/engine/tinkerbell"
)

// templateHardwareData is what templates know as .Hardware.
type templateHardwareData struct {
	Disks      []string
	Interfaces []tinkerbell.Interface
	UserData   string
	Metadata   tinkerbell.HardwareMetadata
	VendorData string
}

// dataOf returns what a template is executed with: the variables, then .hardware (an object as
// JSON), .Hardware (a Go structure) and .references.
func dataOf(request Request) (map[string]any, error) {
	data := map[string]any{}
	for name, value := range request.Variables {
		data[name] = value
	}
	objects, err := splitObjects(request.Hardware)
	if err != nil {
		return nil, err
	}
	hardware := tinkerbell.Hardware{Metadata: map[string]any{}, Status: map[string]any{}}
	data["references"] = map[string]any{}
	for index, object := range objects {
		if _, pushed := object["network"]; pushed && index == 0 && len(objects) == 1 {
			return data, addPushed(data, object)
		}
		if _, isManifest := object["spec"]; !isManifest || !isHardware(object) {
			continue
		}
		if err := convert(object, &hardware); err != nil {
			return nil, err
		}
		data["references"] = references(hardware.Spec.References, objects)
		return data, addHardware(data, hardware)
	}
	if len(objects) > 0 {
		return nil, errors.New(`it must have "spec", as a Hardware manifest, or "network", as what tink hardware push took`)
	}
	return data, addHardware(data, hardware)
}

// splitObjects reads a file that holds one or more objects: YAML documents, JSON, or lists as
// kubectl prints them.
func splitObjects(content string) ([]map[string]any, error) {
	decoder := yamlv3.NewDecoder(strings.NewReader(content))
	var objects []map[string]any
	for {
		var document yamlv3.Node
		if err := decoder.Decode(&document); errors.Is(err, io.EOF) {
			return objects, nil
		} else if err != nil {
			return nil, fmt.Errorf("it is no YAML: %s", strings.TrimPrefix(err.Error(), "yaml: "))
		}
		object, err := toObject(document)
		if err != nil {
			return nil, err
		}
		items, isList := object["items"].([]any)
		if !isList {
			objects = append(objects, object)
			continue
		}
		for _, item := range items {
			if object, isObject := item.(map[string]any); isObject {
				objects = append(objects, object)
			}
		}
	}
}

// toObject reads a document as the API server would: YAML becomes JSON, and a number without a
// fraction is an int64, with one a float64.
func toObject(document yamlv3.Node) (map[string]any, error) {
	text, err := yamlv3.Marshal(&document)
	if err != nil {
		return nil, err
	}
	asJSON, err := yaml.YAMLToJSON(text)
	if err != nil {
		return nil, err
	}
	decoder := json.NewDecoder(bytes.NewReader(asJSON))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		return nil, err
	}
	object, _ := withNumbers(value).(map[string]any)
	return object, nil
}

func withNumbers(value any) any {
	switch value := value.(type) {
	case map[string]any:
		for name, field := range value {
			value[name] = withNumbers(field)
		}
	case []any:
		for index, item := range value {
			value[index] = withNumbers(item)
		}
	case json.Number:
		if integer, err := value.Int64(); err == nil {
			return integer
		}
		float, _ := value.Float64()
		return float
	}
	return value
}

// isHardware says whether an object with a spec can be a Hardware: the kind may be left out.
func isHardware(object map[string]any) bool {
	kind, named := object["kind"].(string)
	return !named || kind == "Hardware"
}

// addHardware adds what the controller has of a Hardware. The object goes through JSON, as there:
// unset fields are absent.
func addHardware(data map[string]any, hardware tinkerbell.Hardware) error {
	var object map[string]any
	if err := convert(hardware, &object); err != nil {
		return err
	}
	data["hardware"] = object
	data["Hardware"] = legacyData(hardware.Spec)
	return nil
}

func legacyData(spec tinkerbell.HardwareSpec) templateHardwareData {
	var data templateHardwareData
	for _, disk := range spec.Disks {
		data.Disks = append(data.Disks, disk.Device)
	}
	data.Interfaces = spec.Interfaces
	if spec.Metadata != nil {
		data.Metadata = *spec.Metadata
	}
	if spec.UserData != nil {
		data.UserData = *spec.UserData
	}
	if spec.VendorData != nil {
		data.VendorData = *spec.VendorData
	}
	return data
}

// addPushed adds what `tink hardware push` took. Its servers know no .Hardware; it is made of the
// fields that became a Hardware's.
func addPushed(data map[string]any, object map[string]any) error {
	var pushed struct {
		Network  tinkerbell.HardwareSpec      `json:"network"`
		Metadata *tinkerbell.HardwareMetadata `json:"metadata"`
	}
	if err := convert(object, &pushed); err != nil {
		return err
	}
	pushed.Network.Metadata = pushed.Metadata
	data["hardware"] = object
	data["Hardware"] = legacyData(pushed.Network)
	return nil
}

// references finds the objects that a Hardware names. The controller leaves out those that it does
// not find or that its rules deny.
func references(named map[string]tinkerbell.Reference, objects []map[string]any) map[string]any {
	found := map[string]any{}
	for name, reference := range named {
		for _, object := range objects {
			if isReferred(reference, object) {
				found[name] = object
			}
		}
	}
	return found
}

func isReferred(reference tinkerbell.Reference, object map[string]any) bool {
	metadata, _ := object["metadata"].(map[string]any)
	namespace, hasNamespace := metadata["namespace"]
	apiVersion := strings.TrimPrefix(strings.ToLower(reference.Group)+"/"+reference.Version, "/")
	return metadata["name"] == reference.Name &&
		(!hasNamespace || namespace == reference.Namespace) &&
		object["apiVersion"] == apiVersion &&
		isPlural(strings.ToLower(reference.Resource), fmt.Sprint(object["kind"]))
}

// isPlural says whether a resource can be the plural of a kind: configmaps of ConfigMap, policies
// of Policy, hardware of Hardware.
func isPlural(resource, kind string) bool {
	singular := strings.ToLower(kind)
	return resource == singular || resource == singular+"s" || resource == singular+"es" || resource == strings.TrimSuffix(singular, "y")+"ies"
}

// convert goes from one type to another by way of JSON.
func convert(from, to any) error {
	text, err := json.Marshal(from)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, to); err != nil {
		return errors.New(strings.TrimPrefix(err.Error(), "json: "))
	}
	return nil
}
