/**
 * What answers to Docker's API in tests: the Docker Engine, or with `TEST_ENGINE=podman` the Podman
 * of the boot image (`make test-podman`).
 */
export function engineUnderTest(): 'docker' | 'podman' {
  return process.env['TEST_ENGINE'] === 'podman' ? 'podman' : 'docker';
}
