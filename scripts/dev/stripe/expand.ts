import { invalidRequest } from './api-error.ts';
import type { World } from './world.ts';

const DEPTH_MAX = 4;

/** The answer with what `expand[]` asks for in place of its ids (Expanding responses). */
export function expandObject(world: World, object: object, paths: string[]): object {
  const copy: Record<string, unknown> = structuredClone({ ...object });
  for (const path of paths) {
    const steps = path.split('.');
    if (steps.length > DEPTH_MAX) {
      throw invalidRequest('You cannot expand more than 4 levels of a property.', { param: 'expand' });
    }
    expandStep(world, copy, steps, path);
  }
  return copy;
}

function expandStep(world: World, target: unknown, [step, ...rest]: string[], path: string): void {
  if (step === undefined || typeof target !== 'object' || target === null) return;
  if (Array.isArray(target)) {
    for (const item of target) expandStep(world, item, [step, ...rest], path);
    return;
  }
  const fields = Object.entries(target);
  const value: unknown = fields.find(([name]) => name === step)?.[1];
  if (value === undefined) {
    throw invalidRequest(`This property cannot be expanded (${path}).`, { param: 'expand' });
  }
  if (typeof value === 'string')
    Object.assign(target, { [step]: structuredClone(resolve(world, value, path)) });
  expandStep(world, Object.entries(target).find(([name]) => name === step)?.[1], rest, path);
}

function resolve(world: World, id: string, path: string): object {
  const found =
    world.payments.get(id) ?? world.charges.get(id) ?? world.transactions.get(id) ?? world.refunds.get(id);
  if (found) return found;
  throw invalidRequest(`This property cannot be expanded (${path}).`, { param: 'expand' });
}
