import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseKernelCommandLine } from '../../../agent/settings/kernel-cmdline.ts';

function parse(commandLine: string) {
  return Object.fromEntries(parseKernelCommandLine(commandLine));
}

test('parseKernelCommandLine() reads what boots of the sandbox v0.1.0 sends', () => {
  const parameters = parse(
    'ip=dhcp modules=loop,squashfs,sd-mod,usb-storage alpine_repo=http://192.168.1.2/repo-x86_64/main tinkerbell=http://192.168.1.1 packet_action=workflow packet_state= docker_registry=192.168.1.1 grpc_authority=192.168.1.1:42113 grpc_cert_url=http://192.168.1.1:42114/cert registry_username=admin registry_password=s3cret worker_id=ce2e62ed-826f-4485-a39f-a82bb74338e2 packet_bootdev_mac=08:00:27:00:00:01 facility=onprem initrd=initramfs-x86_64 console=tty0 console=ttyS1,115200\n',
  );
  assert.equal(parameters['grpc_authority'], '192.168.1.1:42113');
  assert.equal(parameters['packet_state'], '');
  assert.equal(parameters['worker_id'], 'ce2e62ed-826f-4485-a39f-a82bb74338e2');
});

test('parseKernelCommandLine() lets the last of several values win', () => {
  assert.deepEqual(parse('console=tty0 a=1 console=ttyS0 a=2'), { console: 'ttyS0', a: '2' });
});

test('parseKernelCommandLine() lets an empty value win over an earlier one', () => {
  assert.deepEqual(parse('a=1 a='), { a: '' });
});

test('parseKernelCommandLine() tells a parameter without a value from one with an empty value', () => {
  assert.deepEqual(parse('a b= c=""'), { a: true, b: '', c: '' });
});

test('parseKernelCommandLine() takes - and _ in names as the same, but not in values', () => {
  assert.deepEqual(parse('docker-registry=a-b docker_registry=c-d_e nibs-sysrq'), {
    docker_registry: 'c-d_e',
    nibs_sysrq: true,
  });
});

test('parseKernelCommandLine() keeps spaces inside quotes, around the value or around the whole parameter', () => {
  assert.deepEqual(parse('a="one two" "b=three four" c=5'), { a: 'one two', b: 'three four', c: '5' });
});

test('parseKernelCommandLine() takes an unclosed quote as reaching to the end, as the kernel does', () => {
  assert.deepEqual(parse('a="one two'), { a: 'one two' });
});

test('parseKernelCommandLine() splits at the first equals sign only', () => {
  assert.deepEqual(parse('registry_password=a=b== quiet'), { registry_password: 'a=b==', quiet: true });
});

test('parseKernelCommandLine() reads what follows a lone double dash, too', () => {
  assert.deepEqual(parse('quiet -- nibs_finish=reboot'), { quiet: true, nibs_finish: 'reboot' });
});

test('parseKernelCommandLine() finds nothing in nothing', () => {
  assert.deepEqual(parse(' \n'), {});
});
