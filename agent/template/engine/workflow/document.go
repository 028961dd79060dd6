package workflow

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// Document is a YAML document as yaml.v3 reads it. The first node is its root; there is none if the
// document is empty or malformed.
type Document struct {
	Nodes []Node `json:"nodes"`
	// Errors are what keeps the controller from decoding the document into a workflow.
	Errors []Problem `json:"errors"`
}

// Node is one node of a document. Offset counts UTF-16 code units of the text.
type Node struct {
	// Kind is "scalar", "mapping", "sequence" or "alias".
	Kind   string `json:"kind"`
	Offset int    `json:"offset"`
	// Value is what a scalar is where text is wanted. Of an alias it is the name.
	Value string `json:"value,omitempty"`
	// Null says that a scalar stands for nothing.
	Null bool `json:"null,omitempty"`
	// Merge says that a key merges the mapping that is its value: <<.
	Merge bool `json:"merge,omitempty"`
	// Integer is what a scalar is where a whole number is wanted.
	Integer *int64 `json:"integer,omitempty"`
	// Children are the indices of the items of a sequence, of the keys and values of a mapping in
	// turn, or of what an alias stands for.
	Children []int `json:"children,omitempty"`
}

// decoded has the shape of the controller's type Workflow
// (tink/controller/internal/workflow/types.go).
type decoded struct {
	Version       string
	Name          string
	ID            string
	GlobalTimeout int `yaml:"global_timeout"`
	Tasks         []struct {
		Name        string
		Worker      string
		Volumes     []string
		Environment map[string]string
		Actions     []struct {
			Name        string
			Image       string
			Timeout     int64
			Command     []string
			OnTimeout   []string `yaml:"on-timeout"`
			OnFailure   []string `yaml:"on-failure"`
			Volumes     []string
			Environment map[string]string
			Pid         string
			Namespaces  struct{ Network, Pid string }
		}
	}
}

// readDocument reads the first document of a text; the controller does not look at further ones.
func readDocument(content string) *Document {
	reader := documentReader{text: newText(content), indices: map[*yaml.Node]int{}, document: &Document{Nodes: []Node{}, Errors: []Problem{}}}
	if offset := invalidUTF8(content); offset >= 0 {
		reader.add(offset, "invalid UTF-8")
		return reader.document
	}
	var root yaml.Node
	if err := yaml.Unmarshal([]byte(content), &root); err != nil {
		reader.addError(err)
		return reader.document
	}
	if root.Kind != yaml.DocumentNode {
		return reader.document
	}
	if err := root.Decode(&decoded{}); err != nil {
		reader.addError(err)
	}
	reader.read(root.Content[0])
	return reader.document
}

func invalidUTF8(content string) int {
	for offset, character := range content {
		if character == utf8.RuneError && !strings.HasPrefix(content[offset:], string(utf8.RuneError)) {
			return offset
		}
	}
	return -1
}

type documentReader struct {
	text     text
	indices  map[*yaml.Node]int
	document *Document
}

var kinds = map[yaml.Kind]string{
	yaml.ScalarNode: "scalar", yaml.MappingNode: "mapping", yaml.SequenceNode: "sequence", yaml.AliasNode: "alias",
}

// read returns the index of a node. Each node is read once, however many aliases it has.
func (r documentReader) read(node *yaml.Node) int {
	if index, known := r.indices[node]; known {
		return index
	}
	index := len(r.document.Nodes)
	r.indices[node] = index
	r.document.Nodes = append(r.document.Nodes, Node{})
	result := Node{Kind: kinds[node.Kind], Offset: r.text.units(r.text.runeOffset(node.Line, node.Column)), Value: node.Value}
	switch node.Kind {
	case yaml.ScalarNode:
		result.Null = node.ShortTag() == "!!null"
		result.Merge = node.ShortTag() == "!!merge"
		// A binary value is text too, decoded; what is no whole number has none.
		_ = node.Decode(&result.Value)
		var integer int64
		if node.Decode(&integer) == nil {
			result.Integer = &integer
		}
	case yaml.AliasNode:
		result.Children = []int{r.read(node.Alias)}
	}
	for _, child := range node.Content {
		result.Children = append(result.Children, r.read(child))
	}
	r.document.Nodes[index] = result
	return index
}

func (r documentReader) addError(err error) {
	messages := []string{err.Error()}
	if typeError, isTypeError := errors.AsType[*yaml.TypeError](err); isTypeError {
		messages = typeError.Errors
	}
	for _, message := range messages {
		line, rest := splitYamlError(message)
		content, start := r.text.line(line)
		r.add(start+len(content)-len(strings.TrimLeft(content, " ")), rest)
	}
}

func (r documentReader) add(offset int, message string) {
	r.document.Errors = append(r.document.Errors, Problem{r.text.units(offset), message})
}

// yamlPrefix is what yaml.v3 puts in front of a message.
var yamlPrefix = regexp.MustCompile(`^(?:yaml: )?(?:line (\d+): )?`)

// goTypes are the names of types of this package in a message.
var goTypes = regexp.MustCompile(` into (?:struct \{.*|\[\]struct \{.*|workflow\.decoded)$`)

func splitYamlError(message string) (line int, rest string) {
	match := yamlPrefix.FindStringSubmatch(message)
	line, _ = strconv.Atoi(match[1])
	rest = message[len(match[0]):]
	if at := goTypes.FindStringIndex(rest); at != nil {
		rest = fmt.Sprintf("%s into a mapping or a list of mappings", rest[:at[0]])
	}
	return line, rest
}
