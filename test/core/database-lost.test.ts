import { expect, test } from 'vitest';
import { isConnectionLost, isDatabaseLost } from '../../src/core/database-lost.ts';

const errorOf = (fields: object) => Object.assign(new Error('x'), fields);

test.each([
  ['the server goes down', { code: '57P01', severity: 'FATAL' }],
  ['a pooler says so as an ordinary error', { code: '08006', severity: 'ERROR' }],
  ['a pooler that knows the older field alone', { code: '57P03', severity_local: 'FATAL' }],
  ['the driver lost its socket', { code: 'CONNECTION_CLOSED' }],
  ['a port that nobody listens on', { code: 'ECONNREFUSED', syscall: 'connect', query: 'SELECT 1' }],
  ['a name that does not resolve now', { code: 'ENOTFOUND', syscall: 'getaddrinfo', query: 'SELECT 1' }],
  ['a name server that does not answer', { code: 'EAI_AGAIN', syscall: 'getaddrinfo', query: 'SELECT 1' }],
  ['a unix socket that is gone', { code: 'ENOENT', syscall: 'connect', query: 'SELECT 1' }],
  ['a unix socket whose queue is full', { code: 'EAGAIN', syscall: 'connect', query: 'SELECT 1' }],
])('%s: the database is lost', (_, fields) => {
  expect(isDatabaseLost(errorOf(fields))).toBe(true);
  expect(isConnectionLost(errorOf(fields))).toBe(true);
  expect(isDatabaseLost(new Error('outer', { cause: errorOf(fields) }))).toBe(true);
});

test.each([
  ['a constraint', { code: '23505', severity: 'ERROR', query: 'INSERT' }],
  ['a file that is not there', { code: 'ENOENT', syscall: 'open' }],
  ['the name of somebody else', { code: 'ENOTFOUND', syscall: 'getaddrinfo' }],
  ['somebody else that does not listen', { code: 'ECONNREFUSED', syscall: 'connect' }],
])('%s: the database is not lost', (_, fields) => {
  expect(isDatabaseLost(errorOf(fields))).toBe(false);
});
