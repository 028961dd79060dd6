// Prints what tink-agent finds out about the machine in a directory: it is a thin layer over the
// public library ghw, which this program asks in the same way. Order of processors: by their number
// (tink-agent has none).
//
//	go run . DIRECTORY
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"sort"

	"github.com/jaypipes/ghw"
	"github.com/jaypipes/ghw/pkg/block"
	"github.com/jaypipes/ghw/pkg/pci"
)

type object = map[string]any

func main() {
	root := os.Args[1]
	// The directory must be all that it sees. HOME: without it no database of PCI names is looked for
	// beside those of the directory.
	os.Setenv("GHW_CHROOT", root)
	os.Setenv("PCIDB_CHROOT", root)
	os.Setenv("HOME", "/nonexistent")
	quiet := ghw.WithDisableWarnings()
	out := object{}

	if cpu, err := ghw.CPU(quiet); err == nil {
		sort.Slice(cpu.Processors, func(a, b int) bool { return cpu.Processors[a].ID < cpu.Processors[b].ID })
		var processors []object
		for _, p := range cpu.Processors {
			one := object{"id": max(p.ID, 0), "cores": p.TotalCores, "threads": p.TotalHardwareThreads, "vendor": p.Vendor, "model": p.Model}
			put(one, "capabilities", p.Capabilities)
			processors = append(processors, one)
		}
		all := object{"totalCores": cpu.TotalCores, "totalThreads": cpu.TotalHardwareThreads}
		put(all, "processors", processors)
		out["cpu"] = all
	}
	if m, err := ghw.Memory(quiet); err == nil {
		out["memory"] = object{"total": size(uint64(m.TotalPhysicalBytes)), "usable": size(uint64(m.TotalUsableBytes))}
	}
	if b, err := ghw.Block(quiet); err == nil {
		var disks []object
		for _, d := range b.Disks {
			if d.StorageController == block.StorageControllerLoop || d.StorageController == block.StorageControllerUnknown {
				continue
			}
			disks = append(disks, object{
				"name": d.Name, "controllerType": d.StorageController.String(), "driveType": d.DriveType.String(),
				"size": size(d.SizeBytes), "physicalBlockSize": size(d.PhysicalBlockSizeBytes),
				"vendor": d.Vendor, "model": d.Model, "wwn": d.WWN, "serialNumber": d.SerialNumber,
			})
		}
		put(out, "blockDevices", disks)
	}
	if n, err := ghw.Network(quiet); err == nil {
		var cards []object
		for _, c := range n.NICs {
			one := object{"name": c.Name, "mac": c.MACAddress, "speed": c.Speed}
			var enabled []string
			for _, capability := range c.Capabilities {
				if capability.IsEnabled {
					enabled = append(enabled, capability.Name)
				}
			}
			put(one, "enabledCapabilities", enabled)
			cards = append(cards, one)
		}
		put(out, "networkInterfaces", cards)
	}
	if p, err := ghw.PCI(quiet); err == nil {
		var functions []object
		for _, d := range p.Devices {
			functions = append(functions, function(d))
		}
		put(out, "pciDevices", functions)
	}
	if g, err := ghw.GPU(quiet); err == nil {
		var cards []object
		for _, c := range g.GraphicsCards {
			if c.DeviceInfo != nil {
				cards = append(cards, function(c.DeviceInfo))
			}
		}
		put(out, "gpuDevices", cards)
	}
	if c, err := ghw.Chassis(quiet); err == nil {
		out["chassis"] = object{"serial": c.SerialNumber, "vendor": c.Vendor}
	}
	if b, err := ghw.BIOS(quiet); err == nil {
		out["bios"] = object{"vendor": b.Vendor, "version": b.Version, "releaseDate": b.Date}
	}
	if b, err := ghw.Baseboard(quiet); err == nil {
		out["baseboard"] = object{"vendor": b.Vendor, "product": b.Product, "version": b.Version, "serialNumber": b.SerialNumber}
	}
	if p, err := ghw.Product(quiet); err == nil {
		out["product"] = object{"name": p.Name, "vendor": p.Vendor, "serialNumber": p.SerialNumber}
	}

	encoder := json.NewEncoder(os.Stdout)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", " ")
	if err := encoder.Encode(out); err != nil {
		panic(err)
	}
}

func function(d *pci.Device) object {
	one := object{"vendor": d.Vendor.Name, "product": d.Product.Name, "class": d.Class.Name}
	if d.Driver != "" {
		one["driver"] = d.Driver
	}
	return one
}

// An empty list is left out of tink-agent's JSON.
func put[T any](in object, key string, list []T) {
	if len(list) > 0 {
		in[key] = list
	}
}

// Whole units of 1024, rounded up; nothing for none.
func size(bytes uint64) string {
	if bytes == 0 {
		return ""
	}
	unit := 0
	for bytes>>(10*unit) >= 1024 && unit < 6 {
		unit++
	}
	return fmt.Sprintf("%d%s", (bytes+1<<(10*unit)-1)>>(10*unit), []string{"B", "KB", "MB", "GB", "TB", "PB", "EB"}[unit])
}
