# Part of guest.sh, in a machine with UEFI: boot entries by the real efibootmgr.

# An EFI partition, as an earlier system had it.
esp() {
	printf 'label: gpt\nstart=2048, size=8192, type=c12a7328-f81f-11d2-ba4b-00a0c93ec93b\n' | sfdisk --quiet "$1"
}

entry() {
	efibootmgr --create --disk "$1" --part 1 --loader "$2" --label "$3" >/dev/null
}

mount -t efivarfs efivarfs /sys/firmware/efi/efivars
target=$(disk 12000000000) other=$(disk 13000000000)
esp "$target"
esp "$other"
entry "$target" '\efi\boot\bootx64.efi' 'Flatcar Container Linux lts'
entry "$target" '\EFI\debian\shimx64.efi' debian
entry "$other" '\efi\boot\bootx64.efi' 'Flatcar Container Linux alpha'
efibootmgr -v 2>&1 | say before
flatcar-install -d "$target" -f /image.bin.bz2 -C stable -u 2>&1 | say install
efibootmgr -v 2>&1 | say once
entry "$target" '\efi\boot\bootx64.efi' 'Flatcar Container Linux stable'
flatcar-install -d "$target" -f /image.bin.bz2 -C beta -u >/dev/null 2>&1
efibootmgr -v 2>&1 | say twice
echo DONE
poweroff -f
