/**
 * Whether an error says that a connection is gone, or cannot be made now: errors of the socket, of the driver
 * about its socket, and what the server says before it hangs up.
 */
export function isConnectionLost(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  return isFatal(error) || LOST.test(codeOf(error)) || isSocketAway(error) || isConnectionLost(error.cause);
}

/** The same of the database alone: a refused connection to anything else says nothing about it. */
export function isDatabaseLost(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  const code = codeOf(error);
  // The driver notes on whatever stopped a statement which one that was.
  const isDriver = DRIVER.test(code) || ('query' in error && (LOST.test(code) || isSocketAway(error)));
  return isFatal(error) || isDriver || isDatabaseLost(error.cause);
}

const DRIVER = /^CONNECT(?:ION_|_TIMEOUT$)/;
const LOST =
  /^(?:CONNECTION_|CONNECT_TIMEOUT$|ECONN|EPIPE|ETIMEDOUT|EHOSTUNREACH|ENETUNREACH|ENOTFOUND|EAI_AGAIN)/;

/** A unix socket that is not there while its server is not, or whose queue is full. */
function isSocketAway(error: Error): boolean {
  const isConnecting = 'syscall' in error && error.syscall === 'connect';
  return isConnecting && /^(?:ENOENT|EAGAIN)$/.test(codeOf(error));
}

/** What poolers say of a server they cannot reach, and a leader of a parallel worker that was ended: as they please. */
const SERVER_GONE = /^(?:08...|57P0[123])$/;

/** The driver calls `severity` what servers since 9.6 say in a fixed word; poolers say only the older field. */
function isFatal(error: Error & { severity?: unknown; severity_local?: unknown }): boolean {
  const severity = error.severity ?? error.severity_local;
  if (severity === undefined) return false;
  return severity === 'FATAL' || severity === 'PANIC' || SERVER_GONE.test(codeOf(error));
}

function codeOf(error: Error): string {
  return 'code' in error ? String(error.code) : '';
}
