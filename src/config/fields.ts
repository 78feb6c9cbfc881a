import { z } from 'zod';
import { AMOUNT_MILLICENTS_MAX, type Millicents, millicents } from '../core/money.ts';

/** A whole number between two bounds. */
export const integer = (fallback: number, min: number, max: number) =>
  z
    .string()
    .regex(/^[0-9]+$/, 'must be a whole number')
    .default(String(fallback))
    .transform(Number)
    .pipe(z.number().min(min).max(max));

/** An amount of money. */
export const mcents = (fallback: number) =>
  z
    .string()
    .regex(/^[0-9]{1,13}$/, 'must be a whole number of millicents')
    .default(String(fallback))
    .transform((digits): Millicents => millicents(BigInt(digits)))
    .refine((amount) => amount <= AMOUNT_MILLICENTS_MAX);

/** An `http` or `https` address, without the slash at its end. */
export const url = z.url({ protocol: /^https?$/ }).transform((text) => text.replace(/\/+$/, ''));
