import { deepEqual, equal, match, ok } from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { test } from 'node:test';
import { type FirmwareSources, selectFirmware, serverDrivers } from '../../initramfs/firmware.ts';
import { moduleList, selectModules } from '../../initramfs/modules.ts';
import { fetchSystem } from '../../initramfs/system.ts';

const system = await fetchSystem(resolve(import.meta.dirname, '../../build/cache'));
const directory = join(system.packages, 'lib/modules', system.kernelVersion);
const modules = (await selectModules(directory, moduleList(system.architecture))).map((path) => join(directory, path));
const names = system.list.map(({ name }) => name).filter((name) => name.startsWith('firmware-'));
const sources: FirmwareSources = { ...system, modules, names };

test('the image has the firmware of the cards and host bus adapters of servers', () => {
  const found = [...system.firmware.files.keys()];
  for (const pattern of [
    ...[/^bnx2\/bnx2-mips-09-/, /^bnx2x\/bnx2x-e2-/, /^tigon\/tg3\.bin$/, /^ctfw-/, /^cxgb4\/t6fw\.bin$/],
    ...[/^intel\/ice\/ddp\/ice\.pkg$/, /^qed\/qed_init_values_zipped-/, /^rtl_nic\/rtl8125b-2\.fw$/],
    ...[/^ql2500_fw\.bin$/, /^cbfw-/, /^isci\/isci_firmware\.bin$/],
  ])
    ok(
      found.some((name) => pattern.test(name)),
      String(pattern),
    );
  ok(!found.some((name) => name.startsWith('netronome/')), 'firmware of a driver that is not of `servers`');
});

test('every driver of `servers` is a module of the image', () => {
  const selected = modules.map((path) =>
    basename(path)
      .replace(/\.ko(\.xz)?$/, '')
      .replaceAll('-', '_'),
  );
  deepEqual(
    serverDrivers.filter((name) => !selected.includes(name)),
    [],
  );
});

test('of a file in several versions the newest is taken', () => {
  const ofBnx2x = [...system.firmware.files.keys()].filter((name) => name.startsWith('bnx2x/bnx2x-e2-'));
  equal(ofBnx2x.length, 1);
  match(ofBnx2x[0] ?? '', /-7\.13\.21\.0\.fw$/); // the kernel also names 7.13.15.0, which is in the package
});

test('links of the packages are followed: each file has content', async () => {
  for (const path of system.firmware.files.values()) ok((await readFile(path)).length > 0, path);
});

test('`none` has no firmware, `all` that of every driver of the image, and what no package has is named', async () => {
  equal((await selectFirmware('none', sources)).files.size, 0);
  const all = await selectFirmware('all', sources);
  for (const name of system.firmware.files.keys()) ok(all.files.has(name), name);
  ok(all.files.has('netronome/nic_AMDA0081-0001_4x10.nffw'));
  ok(all.missing.includes('sun/cassini.bin')); // its licence is not known
});

test('the licences of the packages come with it', () => {
  deepEqual([...system.firmware.licences.keys()].sort(), [...names].sort());
  for (const [name, text] of system.firmware.licences) match(text, /License/, name);
});

test('a file that a driver names and no package has is missing, in its newest version only', async () => {
  const bnx2x = modules.filter((path) => basename(path).startsWith('bnx2x.'));
  const { files, missing } = await selectFirmware('servers', {
    ...{ modules: bnx2x, packages: '/nowhere', names: [], tools: system.tools },
  });
  equal(files.size, 0);
  deepEqual(
    missing,
    ['e1', 'e1h', 'e2'].map((chip) => `bnx2x/bnx2x-${chip}-7.13.21.0.fw`),
  );
});
