/** Why an image could not be pulled. */
export type PullFailure =
  /** The registry's address does not answer, or does not exist. */
  | 'unreachable'
  /** The registry does not have the image. */
  | 'not-found'
  /** It wants other credentials, or some. */
  | 'unauthorized'
  /** Its certificate is not trusted. */
  | 'untrusted-certificate'
  /** Its certificate is not valid yet by the machine's clock. */
  | 'certificate-not-yet-valid'
  /** It does not speak TLS. */
  | 'no-tls'
  /**
   * HTTPS failed for a reason that is not known: the engine tried plain HTTP afterwards, with a
   * registry that it lists as insecure, and reports that.
   */
  | 'hidden-tls-failure'
  /** It has the image for other machines only. */
  | 'wrong-platform'
  /** No container can be made of the image, or its name is not valid. */
  | 'unusable-image'
  /** A file of the engine's configuration of registries cannot be used. */
  | 'bad-configuration'
  /** No attempt succeeded in the time for all of them. */
  | 'timed-out'
  /** Anything else, which may pass. */
  | 'temporary';
