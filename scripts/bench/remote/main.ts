import { measureRemote } from './remote-rows.ts';

/** The rows of proxied calls by themselves: `node --import tsx scripts/bench/remote/main.ts [rounds] [seconds]`. */
const [rounds = 5, seconds = 3] = process.argv.slice(2).map(Number);
const progress = (step: string) => void process.stderr.write(`${step}\n`);
for (const { what, ratio, ours, peer } of await measureRemote(
  { progress },
  { rounds, seconds, warmSeconds: 6 },
)) {
  const { median, min, max } = ratio;
  console.log(
    `${median.toFixed(2)}x (${min.toFixed(2)}-${max.toFixed(2)})  ${what}: ours ${ours}, peer ${peer}`,
  );
}
