import { expect, it } from 'vitest';
import { type Attacker, SMALL } from './attack-suite.ts';

/** What differs in a binary: no interpreter stands between it and the kernel. The tool's name is the attack. */
export function describeElfAttacks({ failure, bench }: Attacker): void {
  it('fork bomb', async () => {
    const { reason } = await failure('fork_bomb', {}, { runTimeoutMs: 1500 });
    expect(['timeout', 'crashed']).toContain(reason);
  });

  it('memory bomb in shared mappings', async () => {
    const { reason } = await failure('memory_bomb', {}, { ...SMALL, runTimeoutMs: 3000 });
    expect(reason).toBe(bench().hasForks ? 'out-of-memory' : 'timeout');
  });

  it('netlink sockets', async () => {
    // It exits with the number of the error: EAFNOSUPPORT.
    const { reason, detail } = await failure('netlink');
    expect([reason, detail]).toEqual(['crashed', expect.stringContaining('exit code 97')]);
  });

  it('mount', async () => {
    expect(await failure('mount')).toMatchObject({ detail: expect.stringContaining('exit code 1)') });
  });

  it('int80 bypass', async () => {
    expect(await failure('int80')).toMatchObject({
      reason: 'crashed',
      detail: expect.stringMatching(/159|SIGSYS/),
    });
  });

  it('stdout flood', async () => {
    expect(['output-too-large', 'protocol']).toContain((await failure('stdout_flood')).reason);
  });

  it('CPU spin', async () => {
    expect(await failure('cpu_spin', {}, { runTimeoutMs: 1000 })).toMatchObject({ reason: 'timeout' });
  });
}
