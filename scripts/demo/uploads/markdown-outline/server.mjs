import { serve } from './lib/mcp-stdio.mjs';

const text = { type: 'string', maxLength: 500_000 };
const line = { type: 'integer', minimum: 1 };
const count = { type: 'integer', minimum: 0 };
const listOf = (properties) => ({
  type: 'array',
  items: { type: 'object', properties, required: Object.keys(properties), additionalProperties: false },
});
const contract = {
  title: { type: ['string', 'null'] },
  headings: listOf({ line, level: { type: 'integer', minimum: 1, maximum: 6 }, text }),
  code_blocks: listOf({ line, language: text, lines: count }),
  links: listOf({ line, text, target: text }),
};

/** Headings and links outside of fenced code, and the fenced code itself (CommonMark 0.31, sections 4.2 and 4.5). */
function outline({ text: document }) {
  const [headings, blocks, links] = [[], [], []];
  let fence;
  for (const [index, content] of document.split('\n').entries()) {
    const at = index + 1;
    const mark = /^ {0,3}(`{3,}|~{3,})\s*([^`\s]*)/.exec(content);
    if (fence) {
      if (mark?.[1].startsWith(fence.mark) && mark[2] === '') fence = undefined;
      else fence.block.lines += 1;
      continue;
    }
    if (mark) {
      fence = { mark: mark[1], block: { line: at, language: mark[2], lines: 0 } };
      blocks.push(fence.block);
      continue;
    }
    const heading = /^ {0,3}(#{1,6})\s+(.*?)\s*#*\s*$/.exec(content);
    if (heading) headings.push({ line: at, level: heading[1].length, text: heading[2] });
    for (const [, name, target] of content.matchAll(/\[([^\]]*)\]\(([^)\s]+)[^)]*\)/g)) {
      links.push({ line: at, text: name, target });
    }
  }
  if (fence) throw new Error(`The code block of line ${fence.block.line} has no end.`);
  const title = headings.find(({ level }) => level === 1)?.text ?? null;
  return { title, headings, code_blocks: blocks, links };
}

await serve({ name: 'markdown-outline', version: '1.0.0' }, [
  {
    name: 'outline_markdown',
    description: 'Lists the headings, fenced code blocks and links of a Markdown document with their lines.',
    inputSchema: {
      type: 'object',
      properties: { text: { ...text, description: 'The document.' } },
      required: ['text'],
      additionalProperties: false,
    },
    outputSchema: {
      type: 'object',
      properties: contract,
      required: Object.keys(contract),
      additionalProperties: false,
    },
    run: outline,
  },
]);
