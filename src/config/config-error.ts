/** A start-up error that an operator can act on: it names the variables and the fix. */
export class ConfigError extends Error {
  override name = 'ConfigError';
}
