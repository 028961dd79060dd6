package workflow

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"text/template"

	"github.com/Masterminds/sprig/v3"
	"sigs.k8s.io/yaml"
)

// functions returns all that templates can call beyond Go's own: the functions of sprig that do not
// look at the surroundings, and four of the controller
// (tink/controller/internal/workflow/template_funcs.go).
func functions() template.FuncMap {
	all := sprig.HermeticTxtFuncMap()
	all["formatPartition"] = formatPartition
	all["netmaskToPrefixLength"] = netmaskToPrefixLength
	all["toYaml"] = toYaml
	all["fromYaml"] = fromYaml
	return all
}

// formatPartition names a partition of a disk as the kernel or udev does. It never names the disk
// itself.
func formatPartition(disk string, number int) string {
	separator := ""
	switch {
	case strings.HasPrefix(disk, "/dev/disk/"):
		separator = "-part"
	case disk != "" && strings.Contains("0123456789", disk[len(disk)-1:]):
		separator = "p"
	}
	return disk + separator + strconv.Itoa(number)
}

// netmaskToPrefixLength counts the leading ones: 255.255.255.0 is "24". A mask with holes is "0".
func netmaskToPrefixLength(netmask string) (string, error) {
	address := net.ParseIP(netmask)
	if address == nil {
		return "", fmt.Errorf("invalid netmask format: %s", netmask)
	}
	if address = address.To4(); address == nil {
		return "", fmt.Errorf("netmask must be IPv4: %s", netmask)
	}
	length, _ := net.IPMask(address).Size()
	return strconv.Itoa(length), nil
}

// toYaml has no line break at its end.
func toYaml(value any) (string, error) {
	text, err := yaml.Marshal(value)
	if err != nil {
		return "", fmt.Errorf("toYaml: %w", err)
	}
	return strings.TrimSuffix(string(text), "\n"), nil
}

func fromYaml(text string) (any, error) {
	if text == "" {
		return nil, errors.New("fromYaml: empty YAML input")
	}
	var value any
	if err := yaml.Unmarshal([]byte(text), &value); err != nil {
		return nil, fmt.Errorf("fromYaml: %w", err)
	}
	return value, nil
}
