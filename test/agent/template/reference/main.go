// Command reference renders the templates in cases/ with Go's text/template, natively, and writes
// what they become to renderings.json, with which the tests compare the agent's renderings. It has
// the controller's functions and data (tinkerbell/tinkerbell, tink/controller/internal/workflow) in
// its own words; of the agent's engine it takes only the shape of a Hardware.
//
//	cd test/agent/template/reference && go run .
//	../../../../node_modules/.bin/biome format --write renderings.json
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/template"

	"github.com/Masterminds/sprig/v3"
	"gopkg.in/yaml.v3"
	kyaml "sigs.k8s.io/yaml"

	"nibs/agent/template/engine/tinkerbell"
)

// rendering is a template and what Go makes of it.
type rendering struct {
	Group    string `json:"group"`
	Template string `json:"template"`
	// Text is absent where Go refuses the template.
	Text *string `json:"text,omitempty"`
	// Error is Go's message, with its line and, if it has one, its column.
	Error string `json:"error,omitempty"`
	// Workflow is what yaml.v3 decodes the text of a whole workflow into.
	Workflow      *workflow `json:"workflow,omitempty"`
	WorkflowError string    `json:"workflowError,omitempty"`
}

type workflow struct {
	Name          string `json:"name"`
	GlobalTimeout int    `json:"globalTimeout" yaml:"global_timeout"`
	Tasks         []task `json:"tasks"`
}

type task struct {
	Name        string            `json:"name"`
	Worker      string            `json:"worker"`
	Volumes     []string          `json:"volumes"`
	Environment map[string]string `json:"environment"`
	Actions     []action          `json:"actions"`
}

type action struct {
	Name        string            `json:"name"`
	Image       string            `json:"image"`
	Timeout     int64             `json:"timeout"`
	Command     []string          `json:"command"`
	OnTimeout   []string          `json:"onTimeout" yaml:"on-timeout"`
	OnFailure   []string          `json:"onFailure" yaml:"on-failure"`
	Volumes     []string          `json:"volumes"`
	Environment map[string]string `json:"environment"`
	Pid         string            `json:"pid"`
}

func main() {
	log.SetFlags(0)
	functions := functionMap()
	names := []string{}
	for name := range functions {
		names = append(names, name)
	}
	slices.Sort(names)
	renderings := []rendering{}
	for _, group := range []string{"syntax", "functions", "errors", "templates"} {
		var templates []string
		read(filepath.Join("cases", group+".yaml"), &templates)
		for _, content := range templates {
			// Fresh data for each: functions such as set change it.
			renderings = append(renderings, render(group, content, readData(), functions))
		}
	}
	text, err := json.MarshalIndent(map[string]any{"functions": names, "renderings": renderings}, "", "  ")
	check(err)
	check(os.WriteFile("renderings.json", append(text, '\n'), 0o644))
	log.Printf("%d renderings, %d functions", len(renderings), len(names))
}

func render(group, content string, data map[string]any, functions template.FuncMap) rendering {
	result := rendering{Group: group, Template: content}
	parsed, err := template.New("workflow-template").Option("missingkey=error").Funcs(functions).Parse(content)
	var output bytes.Buffer
	if err == nil {
		err = parsed.Execute(&limited{&output, 256 * 1024}, data)
	}
	if err != nil {
		result.Error = err.Error()
		return result
	}
	text := output.String()
	result.Text = &text
	if group == "templates" {
		result.Workflow = &workflow{}
		if err := yaml.Unmarshal(output.Bytes(), result.Workflow); err != nil {
			result.Workflow = nil
			result.WorkflowError = err.Error()
		}
	}
	return result
}

// limited refuses what does not fit into the rest of its bytes.
type limited struct {
	output io.Writer
	rest   int
}

func (l *limited) Write(piece []byte) (int, error) {
	if l.rest -= len(piece); l.rest < 0 {
		return 0, errors.New("rendered template exceeds 262144 bytes")
	}
	return l.output.Write(piece)
}

func functionMap() template.FuncMap {
	functions := sprig.HermeticTxtFuncMap()
	functions["formatPartition"] = func(disk string, number int) string {
		if strings.HasPrefix(disk, "/dev/disk/") {
			return fmt.Sprintf("%s-part%d", disk, number)
		}
		if last := strings.LastIndexAny(disk, "0123456789"); last >= 0 && last == len(disk)-1 {
			return fmt.Sprintf("%sp%d", disk, number)
		}
		return fmt.Sprintf("%s%d", disk, number)
	}
	functions["netmaskToPrefixLength"] = func(mask string) (string, error) {
		address := net.ParseIP(mask)
		if address == nil {
			return "", fmt.Errorf("invalid netmask format: %s", mask)
		}
		if address.To4() == nil {
			return "", fmt.Errorf("netmask must be IPv4: %s", mask)
		}
		ones, _ := net.IPMask(address.To4()).Size()
		return fmt.Sprint(ones), nil
	}
	functions["toYaml"] = func(value any) (string, error) {
		text, err := kyaml.Marshal(value)
		if err != nil {
			return "", fmt.Errorf("toYaml: %w", err)
		}
		return strings.TrimSuffix(string(text), "\n"), nil
	}
	functions["fromYaml"] = func(text string) (any, error) {
		if text == "" {
			return nil, errors.New("fromYaml: empty YAML input")
		}
		var value any
		if err := kyaml.Unmarshal([]byte(text), &value); err != nil {
			return nil, fmt.Errorf("fromYaml: %w", err)
		}
		return value, nil
	}
	return functions
}

// legacyHardware is .Hardware.
type legacyHardware struct {
	Disks      []string
	Interfaces []tinkerbell.Interface
	UserData   string
	Metadata   tinkerbell.HardwareMetadata
	VendorData string
}

func readData() map[string]any {
	var file struct {
		Variables map[string]string
		Hardware  string
	}
	read("data.yaml", &file)
	content, err := os.ReadFile(file.Hardware)
	check(err)
	documents := strings.Split(string(content), "\n---\n")

	var hardware tinkerbell.Hardware
	check(kyaml.Unmarshal([]byte(documents[0]), &hardware))
	hardware.Status = map[string]any{}
	legacy := legacyHardware{Interfaces: hardware.Spec.Interfaces, UserData: *hardware.Spec.UserData, Metadata: *hardware.Spec.Metadata}
	for _, disk := range hardware.Spec.Disks {
		legacy.Disks = append(legacy.Disks, disk.Device)
	}
	text, err := json.Marshal(hardware)
	check(err)
	var object map[string]any
	check(json.Unmarshal(text, &object))

	data := map[string]any{"Hardware": legacy, "hardware": object}
	// The objects as a client without types has them: whole numbers are int64.
	references := map[string]any{}
	for name, document := range map[string]string{"network": documents[1], "secret": documents[2]} {
		var reference map[string]any
		check(yaml.Unmarshal([]byte(document), &reference))
		references[name] = wide(reference)
	}
	data["references"] = references
	for name, value := range file.Variables {
		data[name] = value
	}
	return data
}

func wide(value any) any {
	switch value := value.(type) {
	case map[string]any:
		for name, field := range value {
			value[name] = wide(field)
		}
	case []any:
		for index, item := range value {
			value[index] = wide(item)
		}
	case int:
		return int64(value)
	}
	return value
}

func read(path string, into any) {
	content, err := os.ReadFile(path)
	check(err)
	check(yaml.Unmarshal(content, into))
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
