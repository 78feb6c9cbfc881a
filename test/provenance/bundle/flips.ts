/** One change to a document: `place` is where, `path` says what, `given` is the whole changed document. */
export type Flip = { place: string; path: string; given: unknown };

type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

/** Every value of a document changed by itself, every member and element taken out, and every element doubled. */
export function* flips(document: unknown): Generator<Flip> {
  const json: Json = JSON.parse(JSON.stringify(document));
  yield* walk(json, '', (value) => value);
}

function* walk(value: Json, place: string, whole: (changed: Json) => Json): Generator<Flip> {
  const flip = (what: string, changed: Json) => ({ place, path: `${what} ${place}`, given: whole(changed) });
  if (place !== '') {
    yield flip('null', null);
    yield flip('retype', Array.isArray(value) || typeof value === 'object' ? 'text' : [value]);
  }
  if (value === null) {
    yield flip('fill', {});
    return;
  }
  if (typeof value === 'string') yield* flipText(value).map(({ what, text }) => flip(what, text));
  else if (typeof value === 'number') {
    for (const other of [value + 1, value - 1, -value - 1, value + 0.5, 2 ** 60, Number.POSITIVE_INFINITY]) {
      yield flip(`number ${other}`, other);
    }
  } else if (Array.isArray(value)) {
    for (const [at, item] of value.entries()) {
      yield flip(`remove [${at}]`, value.toSpliced(at, 1));
      yield flip(`double [${at}]`, value.toSpliced(at, 0, item));
      yield* walk(item, `${place}.${at}`, (changed) => whole(value.with(at, changed)));
    }
    if (value.length > 1) yield flip('reverse', value.toReversed());
    yield flip(
      'overfill',
      Array.from({ length: 1_000 }, () => value[0] ?? 'x'),
    );
  } else if (typeof value === 'object') {
    for (const [name, member] of Object.entries(value)) {
      const { [name]: _, ...rest } = value;
      const inner = place === '' ? name : `${place}.${name}`;
      yield { place: inner, path: `remove ${inner}`, given: whole(rest) };
      yield* walk(member, inner, (changed) => whole({ ...value, [name]: changed }));
    }
    yield flip('add', { ...value, extra: 1 });
  }
}

/** A character of each class changed, where the class first and last stands; and the text cut, grown and emptied. */
function flipText(text: string): { what: string; text: string }[] {
  const classes = [/[0-9]/g, /[a-f]/g, /[g-z]/g, /[A-Z]/g, /[+/=]/g, /\n/g, / /g, /[^0-9a-zA-Z+/=\n ]/g];
  const changed = classes.flatMap((one) => {
    const places = [...text.matchAll(one)].map(({ index }) => index);
    return [...new Set([places[0], places[Math.floor(places.length / 2)], places.at(-1)])].flatMap((at) =>
      at === undefined ? [] : [{ what: `char ${at}`, text: replaceAt(text, at) }],
    );
  });
  return [
    ...changed,
    { what: 'cut', text: text.slice(0, -1) },
    { what: 'behead', text: text.slice(1) },
    { what: 'grow', text: `${text}0` },
    { what: 'pad', text: ` ${text}` },
    { what: 'feed', text: `${text}\n` },
    { what: 'empty', text: '' },
    { what: 'double', text: text + text },
    { what: 'hostile', text: '\ud800\u0000' },
    { what: 'huge', text: text.repeat(Math.ceil(200_000 / Math.max(1, text.length))) },
    ...(text === text.toUpperCase() ? [] : [{ what: 'upper', text: text.toUpperCase() }]),
  ].filter(({ text: other }) => other !== text);
}

function replaceAt(text: string, at: number): string {
  const old = text[at] ?? '';
  const next = { '9': '8', f: 'e', z: 'y', Z: 'Y', '\n': ' ', ' ': '\n', '/': '+', '=': 'A' }[old];
  const other = next ?? String.fromCharCode(old.charCodeAt(0) + 1);
  return text.slice(0, at) + other + text.slice(at + 1);
}
