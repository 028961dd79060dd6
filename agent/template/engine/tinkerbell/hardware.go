// Package tinkerbell has the shape of a Hardware of the API tinkerbell.org/v1alpha1
// (tinkerbell/tinkerbell, api/v1alpha1/tinkerbell/hardware.go): the names, JSON names and types of
// its fields, which templates see. The API's documentation says what they mean.
package tinkerbell

type Hardware struct {
	APIVersion string         `json:"apiVersion,omitempty"`
	Kind       string         `json:"kind,omitempty"`
	Metadata   map[string]any `json:"metadata"`
	Spec       HardwareSpec   `json:"spec"`
	Status     map[string]any `json:"status"`
}

type HardwareSpec struct {
	AgentID     string               `json:"agentID,omitempty"`
	Auto        AutoCapabilities     `json:"auto"`
	BMCRef      *ObjectReference     `json:"bmcRef,omitempty"`
	Interfaces  []Interface          `json:"interfaces,omitempty"`
	References  map[string]Reference `json:"references,omitempty"`
	Metadata    *HardwareMetadata    `json:"metadata,omitempty"`
	TinkVersion int64                `json:"tinkVersion,omitempty"`
	Disks       []Disk               `json:"disks,omitempty"`
	Resources   map[string]any       `json:"resources,omitempty"`
	UserData    *string              `json:"userData,omitempty"`
	VendorData  *string              `json:"vendorData,omitempty"`
}

type AutoCapabilities struct {
	EnrollmentEnabled bool `json:"enrollmentEnabled,omitempty"`
}

// ObjectReference is TypedLocalObjectReference of k8s.io/api/core/v1.
type ObjectReference struct {
	APIGroup *string `json:"apiGroup"`
	Kind     string  `json:"kind"`
	Name     string  `json:"name"`
}

type Reference struct {
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name,omitempty"`
	Group     string `json:"group,omitempty"`
	Version   string `json:"version,omitempty"`
	Resource  string `json:"resource,omitempty"`
}

type Disk struct {
	Device string `json:"device,omitempty"`
}

type Interface struct {
	Netboot     *Netboot `json:"netboot,omitempty"`
	Isoboot     *Isoboot `json:"isoboot,omitempty"`
	DHCP        *DHCP    `json:"dhcp,omitempty"`
	DisableDHCP bool     `json:"disableDhcp,omitempty"`
}

type Netboot struct {
	AllowPXE      *bool     `json:"allowPXE,omitempty"`
	AllowWorkflow *bool     `json:"allowWorkflow,omitempty"`
	IPXE          *IPXE     `json:"ipxe,omitempty"`
	OSIE          *OSIE     `json:"osie,omitempty"`
	PXELINUX      *PXELINUX `json:"pxelinux,omitempty"`
	RPI           *RPI      `json:"rpi,omitempty"`
}

type IPXE struct {
	URL      string `json:"url,omitempty"`
	Contents string `json:"contents,omitempty"`
	Binary   string `json:"binary,omitempty"`
}

type OSIE struct {
	BaseURL      string   `json:"baseURL,omitempty"`
	Kernel       string   `json:"kernel,omitempty"`
	Initrd       string   `json:"initrd,omitempty"`
	KernelParams []string `json:"kernelParams,omitempty"`
}

type PXELINUX struct {
	Config string `json:"config,omitempty"`
}

type RPI struct {
	ConfigTxt    string `json:"configTxt,omitempty"`
	FirmwarePath string `json:"firmwarePath,omitempty"`
	SerialNum    string `json:"serialNum"`
}

type Isoboot struct {
	SourceISO string `json:"sourceISO,omitempty"`
}

type DHCP struct {
	MAC                   string                 `json:"mac,omitempty"`
	Hostname              string                 `json:"hostname,omitempty"`
	DomainName            string                 `json:"domain_name,omitempty"`
	LeaseTime             int64                  `json:"lease_time,omitempty"`
	NameServers           []string               `json:"name_servers,omitempty"`
	TimeServers           []string               `json:"time_servers,omitempty"`
	Arch                  string                 `json:"arch,omitempty"`
	UEFI                  bool                   `json:"uefi,omitempty"`
	IfaceName             string                 `json:"iface_name,omitempty"`
	IP                    *IP                    `json:"ip,omitempty"`
	VLANID                string                 `json:"vlan_id,omitempty"`
	ClasslessStaticRoutes []ClasslessStaticRoute `json:"classless_static_routes,omitempty"`
	TFTPServerName        string                 `json:"tftp_server_name,omitempty"`
	BootFileName          string                 `json:"boot_file_name,omitempty"`
}

type IP struct {
	Address string `json:"address,omitempty"`
	Netmask string `json:"netmask,omitempty"`
	Gateway string `json:"gateway,omitempty"`
	Family  int64  `json:"family,omitempty"`
}

type ClasslessStaticRoute struct {
	DestinationDescriptor string `json:"destination_descriptor"`
	Router                string `json:"router"`
}
