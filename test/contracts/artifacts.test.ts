import { readFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { artifactPath, compileContracts } from '../../scripts/contracts.ts';

test('the committed artifacts are what the sources compile to', async () => {
  for (const [name, artifact] of compileContracts()) {
    expect(JSON.parse(await readFile(artifactPath(name), 'utf8')), name).toEqual(artifact);
  }
});
