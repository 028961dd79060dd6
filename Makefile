# Every target works in a fresh clone: what it needs is made or installed first. `make help` lists them.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

# What build, initramfs and images are for: x86_64 or aarch64, on a machine of either.
HOST_ARCH := $(shell uname -m)
ARCH ?= $(HOST_ARCH)
ARCHS := x86_64 aarch64
ifeq ($(filter $(ARCHS),$(ARCH)),)
$(error ARCH=$(ARCH): it must be one of $(ARCHS))
endif
OTHER_ARCH := $(filter-out $(HOST_ARCH),$(ARCHS))

# Node's names of them.
NODE_x86_64 := x64
NODE_aarch64 := arm64

# The Node that runs everything, and is the base of the executable; pinned in package-lock.json, whatever Node the machine has. It is named by
# its package: the packages for both architectures have a program of this name, and npm before 11.10 then links neither in node_modules/.bin.
NODE := node_modules/node-linux-$(NODE_$(HOST_ARCH))/bin/node

MACHINE_PATH := $(PATH)
export PATH := $(CURDIR)/$(dir $(NODE)):$(CURDIR)/node_modules/.bin:$(PATH)

EXECUTABLE := build/nibs-linux-$(NODE_$(ARCH))
OTHER_EXECUTABLE := build/nibs-linux-$(NODE_$(OTHER_ARCH))
SOURCES = $(shell git ls-files agent clock completion errors files installer net proto registry text tools executable debian/architecture.ts debian/mirrors.ts package-lock.json)

.PHONY: help
help: ## This list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' Makefile

# --- what the machine needs -------------------------------------------------------------------------------------------------

.PHONY: setup
setup: node_modules/.package-lock.json system-packages ## Install the npm packages of the lock file and the Debian packages that building and testing need

# npm runs on the Node that it was installed with: Debian's npm finds its own packages only with Debian's Node. npm shows errors only, because
# its warnings (EBADENGINE) compare the versions of Node that packages support with this Node, which does not run them.
node_modules/.package-lock.json: export PATH := $(MACHINE_PATH)
node_modules/.package-lock.json: package-lock.json package.json .npmrc
	npm ci --loglevel=error
	@touch $@

# Debian packages, one a line; a comment starts with #.
.PHONY: system-packages
system-packages:
	@test/install-system-packages.sh

# --- the product ------------------------------------------------------------------------------------------------------------

.PHONY: build
build: $(EXECUTABLE) build/flatcar-install.8 build/image2disk.8 build/tink-agent.8 ## The executable: build/tink-agent, build/tink-worker, build/flatcar-install, build/image2disk, and their manual pages; ARCH=aarch64 for another architecture than this machine's: build/nibs-linux-arm64

# The build strips the Node of its architecture; it needs nothing else of the machine's packages.
$(foreach arch,$(ARCHS),build/nibs-linux-$(NODE_$(arch))): $(SOURCES) executable/build.ts node_modules/.package-lock.json
	@command -v $(if $(findstring arm64,$@),aarch64,x86_64)-linux-gnu-strip >/dev/null || \
	  echo binutils-$(if $(findstring arm64,$@),aarch64,x86-64)-linux-gnu | test/install-system-packages.sh -
	$(NODE) executable/build.ts --arch $(if $(findstring arm64,$@),aarch64,x86_64)

# npm installs the Node of this machine's architecture only. That of the other one is fetched as a file, which the build compares with the
# lock file.
OTHER_NODE := node-linux-$(NODE_$(OTHER_ARCH))
OTHER_NODE_VERSION := $(shell sed -n 's/^ *"$(OTHER_NODE)": "\(.*\)".*/\1/p' package.json)
OTHER_NODE_FILE := build/cache/$(OTHER_NODE)-$(OTHER_NODE_VERSION).tgz
$(OTHER_EXECUTABLE): $(OTHER_NODE_FILE)
$(OTHER_NODE_FILE): export PATH := $(MACHINE_PATH)
$(OTHER_NODE_FILE):
	mkdir -p $@.d
	npm pack --silent --pack-destination $@.d $(OTHER_NODE)@$(OTHER_NODE_VERSION)
	mv $@.d/$(@F) $@
	rmdir $@.d

build/flatcar-install.8: installer/flatcar-install.8
	install -D --mode=644 $< $@

build/image2disk.8: installer/image2disk/image2disk.8
	install -D --mode=644 $< $@

build/tink-agent.8: agent/tink-agent.8
	install -D --mode=644 $< $@

.PHONY: measure
measure: build ## Size and start-up time of the executable; BENCH_JSON=path too
	$(NODE) test/bench/executable.ts

.PHONY: generate
generate: setup ## What is generated and committed: protocol code, the decoder's kernel, the table of settings in docs/settings.md, the messages in docs/troubleshooting.md, the manual page of the agent, docs/figures.md and its plots
	$(NODE) proto/generate.ts
	$(NODE) installer/decompress/build-kernels.ts
	$(NODE) executable/settings-page.ts
	$(NODE) test/docs/troubleshooting-page.ts
	$(NODE) test/bench/figures.ts --page

.PHONY: dependencies
dependencies: node_modules/.package-lock.json ## The table in docs/dependencies.md: versions, licences, dates of release
	PATH="$(dir $(NODE)):$(MACHINE_PATH)" $(NODE) executable/dependencies-page.ts --ages

.PHONY: template-engine
template-engine: node_modules/.package-lock.json ## What renders templates, from its Go sources; needs Go
	$(NODE) agent/template/engine/build.ts

.PHONY: initramfs
initramfs: setup build ## The boot image: build/vmlinuz-x86_64 and build/initramfs-x86_64, or with ARCH=aarch64 those with that name; COMPRESSION_LEVEL=9 (of 19) for a quicker build of a larger one, COMPRESSION=mixed|zstd|xz (default mixed), KERNEL=backports for a newer kernel, FIRMWARE=none|servers|all (default servers), ENGINE=podman|docker (default podman), and what a site adds, as for site-initramfs
	$(NODE) initramfs/build.ts --arch $(ARCH) $(addprefix --compression ,$(COMPRESSION)) $(addprefix --compression-level ,$(COMPRESSION_LEVEL)) $(addprefix --kernel ,$(KERNEL)) $(addprefix --firmware ,$(FIRMWARE)) $(addprefix --engine ,$(ENGINE)) $(ADDITIONS)

# What a site adds to the boot image.
ADDITIONS = $(addprefix --files ,$(FILES)) $(addprefix --certificate ,$(CERTIFICATES)) $(addprefix --image ,$(IMAGES)) $(addprefix --package ,$(PACKAGES)) $(addprefix --module ,$(MODULES)) $(addprefix --authorized-keys ,$(AUTHORIZED_KEYS)) $(addprefix --ssh ,$(SSH))

.PHONY: site-initramfs
site-initramfs: setup ## A second initramfs with what a site adds to the boot image: build/site-initramfs-x86_64; FILES=directory (for the root), CERTIFICATES=file (PEM), IMAGES=file (container images, which need no registry), PACKAGES=name (of Debian), MODULES=name, AUTHORIZED_KEYS=file (log in by ssh), SSH=dropbear (for nibs_ssh_key=)
	$(NODE) initramfs/site-initramfs.ts --arch $(ARCH) $(addprefix --kernel ,$(KERNEL)) $(addprefix --engine ,$(ENGINE)) $(ADDITIONS)

# Kernel arguments of a site, for all media. In the environment, so that the shell does not read quotes in them.
export KERNEL_ARGS
MEDIA = $(NODE) initramfs/boot-media/build.ts --arch $(ARCH) $(if $(KERNEL_ARGS),--arguments "$$KERNEL_ARGS")

.PHONY: uki
uki: initramfs ## The boot image as one UEFI program: build/nibs-x86_64.efi; KERNEL_ARGS="…" for own kernel arguments, SIGN_KEY=file SIGN_CERT=file (PEM) to sign it
	$(MEDIA) $(addprefix --sign-key ,$(SIGN_KEY)) $(addprefix --sign-cert ,$(SIGN_CERT)) uki

.PHONY: iso
iso: initramfs ## The boot image for CD drives (also those of BMCs) and USB sticks, BIOS and UEFI: build/nibs-x86_64.iso; KERNEL_ARGS="…" too
	$(MEDIA) iso

.PHONY: netboot
netboot: initramfs ## What UEFI machines load from a TFTP or HTTP server, also with Secure Boot: build/netboot; KERNEL_ARGS="…" too
	$(MEDIA) netboot

.PHONY: update
update: setup ## Lock the current versions of the Debian packages: initramfs/packages.lock.json and test/sandbox/packages.lock.json; prints what changes
	$(NODE) initramfs/update.ts
	$(NODE) test/sandbox/update-packages.ts

# What a site has of its own goes into the image of the actions: base URLs of mirrors, certificate authorities (PEM), OpenPGP keys.
SITE = $(addprefix --mirror ,$(MIRROR)) $(addprefix --ca ,$(CA)) $(addprefix --key ,$(KEY))

.PHONY: images
images: setup build ## Container images as OCI archives: the actions' build/flatcar-install.oci.tar and build/image2disk.oci.tar (MIRROR=url CA=file KEY=file bakes in what a site has of its own), the agent's build/tink-worker.oci.tar; ARCH=aarch64 for another architecture than this machine's: build/flatcar-install-aarch64.oci.tar, build/tink-worker-aarch64.oci.tar
	$(NODE) initramfs/action-image.ts --arch $(ARCH) $(SITE)
	$(NODE) initramfs/action-image.ts --arch $(ARCH) $(SITE) --name image2disk
	$(NODE) initramfs/agent-image.ts --arch $(ARCH)

# --- releasing it -----------------------------------------------------------------------------------------------------------

# Who maintains the Debian packages, and answers mail about them: the one who publishes them. This is the only place of the default.
MAINTAINER ?= nibs maintainers <maintainers@nibs.example>

# The version of all products. Default: that of package.json.
RELEASE = $(addprefix --version ,$(VERSION)) $(if $(PARTS),--parts "$(PARTS)") $(addprefix --compression-level ,$(COMPRESSION_LEVEL)) $(if $(SIGN_KEY),--sign-key "$(SIGN_KEY)") --maintainer "$(MAINTAINER)" $(addprefix --builder ,$(BUILDER)) $(addprefix --repository ,$(REPOSITORY))

.PHONY: release
release: setup $(OTHER_NODE_FILE) ## All products for both architectures in build/release, with checksums, bills of materials and provenance: VERSION=1.2.3 (default: that of package.json), SIGN_KEY=file or name of an OpenPGP key, PARTS="images packages boot-x86_64 boot-aarch64" for some, COMPRESSION_LEVEL=3 for a quicker build, MAINTAINER="name <address>" of the Debian packages, BUILDER=URI and REPOSITORY=URI in the provenance
	$(NODE) release/build.ts $(RELEASE)

.PHONY: verify-release
verify-release: node_modules/.package-lock.json ## Check a release as one who has only its files: RELEASE_DIRECTORY=directory (default: build/release), KEY=file (the public keys to trust)
	$(NODE) release/verify.ts $(RELEASE_DIRECTORY) $(addprefix --key ,$(KEY))

.PHONY: push
push: node_modules/.package-lock.json ## Push the container images of build/release to REGISTRY=host[:port][/path], with skopeo, whose options SKOPEO="--dest-creds=…" gives
	$(NODE) release/push.ts $(addprefix --directory ,$(RELEASE_DIRECTORY)) -- "$(REGISTRY)" $(SKOPEO)

# --- showing and checking it ------------------------------------------------------------------------------------------------

.PHONY: os-image
os-image: setup ## The small operating system that the demo installs, signed and laid out as a mirror: build/os-image
	$(NODE) test/sandbox/os-image/build.ts

# By hand, when the image has changed: the demo, which boots it, needs no more than that.
.PHONY: test-os-image
test-os-image: os-image ## The layout of that image, against Flatcar's
	$(NODE) test/run.ts test/sandbox/os-image/layout.ts

.PHONY: demo
demo: setup build initramfs images os-image ## A virtual machine from power-on to an ssh login on the system it installed
	$(NODE) test/e2e/demo.ts $(DEMO)

.PHONY: unit
unit: node_modules/.package-lock.json ## Tests that need nothing but Node: no root, no Debian packages, no build
	$(NODE) test/run.ts --unit

.PHONY: test
ifdef FILE
# What the file needs is made first: nothing for a unit test.
test: node_modules/.package-lock.json
	@case "$$($(NODE) test/files.ts $(FILE))" in \
	  *machine*) $(MAKE) --no-print-directory setup build initramfs iso ;; \
	  *integration*) $(MAKE) --no-print-directory setup build ;; \
	esac
	$(NODE) test/run.ts $(FILE)
else
test: setup build initramfs images iso uki $(OTHER_EXECUTABLE) ## Types, lint and all tests; FILE=path runs one test file
	$(NODE) --run check
	$(NODE) test/run.ts
endif

# By hand: it takes some minutes. The action image has the name of the architecture also on a machine of this architecture.
.PHONY: test-boot-aarch64
test-boot-aarch64: setup build/nibs-linux-arm64 ## An emulated arm64 machine from UEFI through an action to its acknowledged end; builds the boot image and the action image for it
	@test/install-system-packages.sh test/system-packages-aarch64.txt
	$(NODE) initramfs/build.ts --arch aarch64 $(addprefix --compression-level ,$(COMPRESSION_LEVEL))
	$(NODE) initramfs/action-image.ts --arch aarch64 --output build/flatcar-install-aarch64.oci.tar
	$(NODE) test/run.ts test/initramfs/layout-aarch64.ts test/initramfs/boot-aarch64.ts

# Many minutes of emulation; `node test/boot/run.ts ROW…` without building anything.
.PHONY: test-boot
export IPXE_SCRIPT IPXE_FILES
test-boot: setup build iso netboot images os-image ## Virtual machines that start in every way and with other cards, disks and memory, to the first poll of the agent, some to the end of an installation; ROWS="uefi-iso-cd …" for some, ROWS=bios-ipxe IPXE_SCRIPT=file with the script of a server; IPXE_FILES=directory with Tinkerbell's undionly.kpxe and ipxe.efi in place of Debian's iPXE in the rows of servers' scripts
	$(NODE) test/boot/run.ts $(ROWS)

# Some minutes of emulation.
.PHONY: test-disks
test-disks: setup build initramfs ## A virtual machine with disks of many kinds and uses (SATA, NVMe, USB, SD; mdadm, LVM, LUKS, bcache, multipath): what flatcar-install says of them; machines that lose their power while flatcar-install, image2disk, qemuimg2disk and oci2disk write an image; DISKS="power-cuts oci2disk" for some
	@test/install-system-packages.sh test/system-packages-disks.txt
	$(NODE) test/disks/run.ts $(DISKS)

# What is not about Docker's own networks and log drivers, or the end of containers with their engine.
ENGINE_TESTS := $(addprefix test/agent/runtime/,container-runtime images hostname credentials pull-failures adoption flood)
.PHONY: test-podman
test-podman: setup build ## The tests of engines with Docker's API, with the Podman of the boot image in place of Docker
	TEST_ENGINE=podman $(NODE) test/run.ts $(addsuffix .test.ts,$(ENGINE_TESTS))

# npm is the machine's, on its own Node.
.PHONY: test-hosts
test-hosts: export PATH := $(MACHINE_PATH)
test-hosts: system-packages ## Set up and build clean clones with npm 9.2, 10.8 and 11, or NPM_VERSIONS
	test/hosts/npm-versions.sh $(NPM_VERSIONS)

.PHONY: test-debian-13
test-debian-13: system-packages ## A clean clone of HEAD in a chroot of Debian 13: set up, build, and the tests without a virtual machine; TESTS=--distribution for those that tell releases apart
	test/hosts/debian-13.sh test/hosts/in-debian-13.sh $(TESTS)

# Many minutes: nothing but the base system comes from a cache.
HOST ?= debian-13
.PHONY: test-newcomer
test-newcomer: setup ## What a new user does, following only the README, to a login on an installed machine: HOST=debian-12|debian-13|container (default debian-13), COMPRESSION_LEVEL=3 for a quicker build; the steps with their times are in build/hosts/HOST.transcript
	test/hosts/newcomer.sh $(HOST)

.PHONY: test-packages
test-packages: system-packages ## The Debian packages of build/release (make release PARTS=packages): lintian, and installed, upgraded, removed and purged in chroots of Debian 12 and 13
	@test/install-system-packages.sh test/system-packages-packages.txt
	lintian --fail-on error,warning build/release/*.deb
	test/hosts/packages.sh build/release

.PHONY: bench
bench: bench-agent bench-decompress bench-install bench-image bench-boot ## Speed side by side with the native tools; BENCH_JSON=path also writes rows as JSON

.PHONY: bench-decompress
bench-decompress: setup build ## Decoding an image: ours, lbzip2, bzip2
	$(NODE) test/bench/decompress.ts

.PHONY: bench-agent
bench-agent: setup build ## What the agent costs: its actions against docker run, idle CPU and memory; BENCH_JSON=path too
	$(NODE) test/bench/agent.ts

.PHONY: bench-boot
bench-boot: setup build initramfs ## From the start of the kernel to the first answer of the tink server: ours, a bare busybox; memory, sizes, phases; BENCH_JSON=path too
	$(NODE) test/bench/boot.ts

.PHONY: bench-install
bench-install: setup build ## Installing an image: ours, wget with lbzip2 or bzip2; BENCH=--quick for a small one
	$(NODE) test/bench/install.ts $(BENCH)

.PHONY: bench-image
bench-image: setup build ## Writing an image: our image2disk, the original of Tinkerbell (built with Go, or IMAGE2DISK=path); BENCH=--quick for a small one
	$(NODE) test/bench/image.ts $(BENCH)

# For example FIGURES='--only agent,install'; the other parts keep the figures of the run before.
.PHONY: figures
figures: setup build initramfs images os-image ## Run the demo and the benchmarks, and write their figures into docs/figures.md and its plots
	$(NODE) test/bench/figures.ts $(FIGURES)

FUZZ_SECONDS ?= 60
# Empty: all.
FUZZ_TARGETS = $(filter-out programs,$(FUZZ))
export INPUT FUZZ FUZZ_SECONDS
.PHONY: fuzz
fuzz: node_modules/.package-lock.json system-packages ## Give random and hostile inputs to all that reads bytes from outside, and compare the decoders of bzip2, deflate and qcow2 with bzip2, zlib and qemu-img; FUZZ_SECONDS=60 for each of some forty targets, FUZZ="gpt lsblk" for some of them, FUZZ=programs for the comparisons, SEED=1, INPUT=file for one input
ifneq ($(if $(FUZZ),$(filter programs,$(FUZZ)),all),)
	timeout $$(($(FUZZ_SECONDS) + 240)) $(NODE) test/installer/decompress/fuzz.ts --seconds $(FUZZ_SECONDS) $(addprefix --seed ,$(SEED))
	timeout $$(($(FUZZ_SECONDS) + 240)) $(NODE) test/installer/qcow2/fuzz.ts --seconds $(FUZZ_SECONDS) $(addprefix --seed ,$(SEED))
endif
ifneq ($(if $(FUZZ),$(FUZZ_TARGETS),all),)
	FUZZ="$(FUZZ_TARGETS)" $(NODE) test/fuzz/main.ts
endif

.PHONY: compare-qcow2
compare-qcow2: node_modules/.package-lock.json system-packages ## Compare disks in qcow2 images, made by any program, with what qemu-img reads: IMAGES="a.qcow2 …"
	$(NODE) test/installer/qcow2/compare.ts $(IMAGES)

# Settings are in the environment, as make passes them on.
export SECTION SEED DAYS MISSING_SYNC ROW POINTS CELL FAULT PART WORKERS ACTIONS OUTPUT_MB LINE_MB SOAK_MINUTES RUNS BUSY TORTURE_JSON
.PHONY: torture
torture: node_modules/.package-lock.json ## Faults and load, by seed: SECTION=agent (default: the agent simulated in virtual time, DAYS=10000 days from SEED=1; MISSING_SYNC=record leaves out a sync of the journal, which must be found), agent-faults (FAULT=server/reset: some cells), load (WORKERS=1000 ACTIONS=500 OUTPUT_MB=1000 LINE_MB=100, PART=spread: one part; root), soak (SOAK_MINUTES=60), fuzz (as make fuzz), demo (after make demo: RUNS=20 of it in a row, BUSY=2 processes for each core beside it; root) or installer (installations with faults, POINTS=50 of each; ROW=killed for one fault, CELL=3 for one point; root); TORTURE_JSON=path keeps rows of JSON
	$(NODE) test/torture/main.ts

.PHONY: coverage
coverage: node_modules/.package-lock.json ## Run the unit tests, and print which branches of agent/ and installer/ they reach by folder, and the lines that nothing reaches; COVERAGE=--all for the integration tests of these folders too (after make test; root), COVERAGE=file for one; COVERAGE_DIRECTORY=path keeps what was reached and adds what is kept there, COVERAGE=--none only prints that
	$(NODE) test/coverage.ts $(or $(COVERAGE),--unit)

.PHONY: check
check: node_modules/.package-lock.json ## Types, lint, unused files and exports
	$(NODE) --run check

.PHONY: format
format: node_modules/.package-lock.json ## Format and sort imports in place
	$(NODE) --run format

.PHONY: clean
clean: ## Remove what was built; downloaded packages are kept in build/cache
	find build -mindepth 1 -maxdepth 1 ! -name cache -exec rm -rf {} +

.PHONY: distclean
distclean: ## Remove all that make has made: build and node_modules
	rm -rf build node_modules

.PHONY: actionlint
actionlint: ## Check the workflows of GitHub; needs Go
	go run github.com/rhysd/actionlint/cmd/actionlint@v1.7.7
