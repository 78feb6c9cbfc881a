import type { FailureReason } from '../../outcome.ts';
import { RefusedAddress } from './connector.ts';
import type { SendFailure } from './send.ts';

export type Explained = { reason: FailureReason; detail: string; isUnreachable: boolean };

/** What a failed request is called, in words that say where to look and hold nothing of the answer. */
export function explainFailure(failure: SendFailure, bytesMax: number): Explained {
  switch (failure.kind) {
    case 'unreachable':
      return { reason: 'unreachable', detail: explainConnection(failure.error), isUnreachable: true };
    case 'too-large':
      return known('output-too-large', `The server wrote more than ${bytesMax} bytes.`);
    case 'undecodable':
      return known('protocol', `The server ${failure.why}.`);
    case 'broken':
      return explainBreak(failure.error);
    default:
      return failure satisfies never;
  }
}

function explainConnection(error: Error): string {
  if (error instanceof RefusedAddress) return error.message;
  const code = codeOf(error);
  const sentence = CONNECTION_ERRORS.get(code);
  if (sentence !== undefined) return `The endpoint ${sentence}.`;
  if (/^(?:CERT_|ERR_TLS_|ERR_SSL_|UNABLE_TO_|DEPTH_ZERO_|SELF_SIGNED_|EPROTO)/.test(code)) {
    return `The endpoint's certificate or TLS is not in order (${code}).`;
  }
  return code === '' ? 'The endpoint could not be reached.' : `The endpoint could not be reached (${code}).`;
}

const CONNECTION_ERRORS = new Map([
  ['ENOTFOUND', 'has a host name that does not resolve'],
  ['EAI_AGAIN', 'has a host name that does not resolve right now'],
  ['ECONNREFUSED', 'refuses connections'],
  ['UND_ERR_CONNECT_TIMEOUT', 'did not accept a connection in time'],
  ['ETIMEDOUT', 'did not accept a connection in time'],
]);

function explainBreak(error: Error): Explained {
  const code = codeOf(error);
  if (code === 'UND_ERR_HEADERS_OVERFLOW')
    return known('protocol', 'The server sent headers that are too large.');
  if (error.name === 'HTTPParserError')
    return known('protocol', 'The server sent something that is not HTTP.');
  return known('crashed', 'The connection broke before the server had answered.');
}

function known(reason: FailureReason, detail: string): Explained {
  return { reason, detail, isUnreachable: false };
}

/** Several addresses that were all tried fail as one error with many inside. */
function codeOf(error: Error): string {
  if (error instanceof AggregateError && error.errors[0] instanceof Error) return codeOf(error.errors[0]);
  return 'code' in error && typeof error.code === 'string' ? error.code : '';
}
