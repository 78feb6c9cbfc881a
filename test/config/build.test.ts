import { expect, test } from 'vitest';
import { z } from 'zod';
import { buildEnvironment, readBuild } from '../../src/config/build.ts';
import { ConfigError } from '../../src/config/config-error.ts';
import { TEST_TLS } from '../harness/tls.ts';

const read = (env: Record<string, string>) => readBuild(z.object(buildEnvironment).parse(env));

test('builds install from the public indexes when nothing is set', () => {
  expect(read({})).toEqual({
    npmRegistry: 'https://registry.npmjs.org',
    pypiIndex: 'https://pypi.org/simple',
    extraHosts: ['files.pythonhosted.org'],
    extraCa: undefined,
    allowsPrivateHosts: true,
  });
});

test("an operator's own mirror is taken with its authority, without the slash at its end", () => {
  const config = read({
    BUILD_NPM_REGISTRY: 'https://npm.example.com:8443/all/',
    BUILD_EXTRA_HOSTS: 'a.example.com, b.example.com:8443',
    BUILD_CA: TEST_TLS.cert.replaceAll('\n', '\\n'),
    BUILD_PRIVATE_HOSTS: 'no',
  });
  expect(config.npmRegistry).toBe('https://npm.example.com:8443/all');
  expect(config.extraHosts).toEqual(['a.example.com', 'b.example.com:8443']);
  expect(config.extraCa).toBe(TEST_TLS.cert);
  expect(config.allowsPrivateHosts).toBe(false);
});

test.each([
  ['a password', { BUILD_PYPI_INDEX: 'https://user:secret@pypi.example.com/simple' }],
  ['plain http', { BUILD_NPM_REGISTRY: 'http://registry.npmjs.org' }],
  ['a query', { BUILD_PYPI_INDEX: 'https://pypi.example.com/simple?token=x' }],
  ['a wildcard host', { BUILD_EXTRA_HOSTS: '*.example.com' }],
  ['an address among the hosts', { BUILD_EXTRA_HOSTS: '10.0.0.1' }],
])('an index with %s is refused at start', (_, env) => {
  expect(() => read(env)).toThrow(/BUILD_/);
});

test('an index at an address, and an authority that cannot be read, are named', () => {
  expect(() => read({ BUILD_NPM_REGISTRY: 'https://10.0.0.1' })).toThrow(ConfigError);
  expect(() => read({ BUILD_NPM_REGISTRY: 'https://10.0.0.1' })).toThrow('BUILD_NPM_REGISTRY');
  expect(() => read({ BUILD_CA: '/nowhere/ca.pem' })).toThrow('BUILD_CA');
});
