/**
 * The model card: facts from the checkpoint, and the Markdown file that comes with the model.
 *
 * @import { Card } from './client.js'
 */

import { find, make } from './dom.js';
import { big, size } from './words.js';

/** @param {Card} card */
export function showFacts(card) {
  const rows = [
    ['Name', card.name], ['Network', card.network], ['Depth', String(card.depth)], ['Alpha', String(card.alpha)],
    ['Parameters', `${big(card.parameters)} (${card.parameters.toLocaleString('en')})`],
    ['Multiply-adds per image', big(card.macs)], ['Input', `${card.imageSize}×${card.imageSize} pixels`],
    ['Classes', String(card.classes.length)], ['File', size(card.bytes)],
    ...Object.entries(card.trained ?? {}).filter(([, value]) => typeof value !== 'object').map(([key, value]) => [words(key), String(value)]),
  ];
  find('card-facts', HTMLElement).replaceChildren(...rows.map(([term, value]) =>
    make('div', {}, make('dt', {}, term), make('dd', {}, value))));
}

/** Shows the card's text, or none. @param {string | null} text */
export function showText(text) {
  find('card-text', HTMLElement).replaceChildren(...text ? prose(text) : []);
}

/** A key of the metadata as words. @param {string} key */
const words = (key) => (key[0].toUpperCase() + key.slice(1)).replaceAll('_', ' ');

/**
 * The subset of Markdown that a card uses: headings, lists, tables, code and paragraphs.
 * The text is never parsed as HTML.
 * @param {string} text @returns {Node[]}
 */
function prose(text) {
  const blocks = text.replaceAll('\r', '').split(/\n(?:[ \t]*\n)+/);
  return blocks.flatMap((block) => {
    const lines = block.split('\n').filter((line) => line.trim());
    if (!lines.length) return [];
    const heading = /^(#+) (.*)/.exec(lines[0]);
    if (heading) {
      const level = /** @type {'h3' | 'h4'} */ (heading[1].length === 1 ? 'h3' : 'h4');
      return [make(level, {}, ...inline(heading[2])), ...prose(lines.slice(1).join('\n'))];
    }
    if (lines.every((line) => /^( {4}|```)/.test(line)) || lines[0].startsWith('```')) {
      return [make('pre', {}, lines.filter((line) => !line.startsWith('```')).map((line) => line.replace(/^ {4}/, '')).join('\n'))];
    }
    if (lines.every((line) => line.startsWith('|'))) return [table(lines)];
    if (lines.every((line) => /^[-*] /.test(line))) {
      return [make('ul', {}, ...lines.map((line) => make('li', {}, ...inline(line.slice(2)))))];
    }
    return [make('p', {}, ...inline(lines.join(' ')))];
  });
}

/** @param {string[]} lines */
function table(lines) {
  const rows = lines.filter((line) => !/^[|\s:-]+$/.test(line)).map((line) => line.replace(/^\||\|$/g, '').split('|'));
  const row = (/** @type {string[]} */ cells, /** @type {'th' | 'td'} */ tag) =>
    make('tr', {}, ...cells.map((cell) => make(tag, {}, ...inline(cell.trim()))));
  return make('div', { class: 'scroll' }, make('table', {}, make('thead', {}, row(rows[0] ?? [], 'th')),
    make('tbody', {}, ...rows.slice(1).map((cells) => row(cells, 'td')))));
}

/** Code, bold and emphasised text, and links within a line; links to https only. @param {string} line @returns {Node[]} */
function inline(line) {
  return line.split(/(`[^`]+`|\*\*[^*]+\*\*|\*[^*]+\*|\[[^\]]+\]\([^)]+\))/).map((part) => {
    const link = /^\[([^\]]+)\]\((https:[^)]+)\)$/.exec(part);
    if (link) return make('a', { href: link[2], rel: 'noopener' }, link[1]);
    if (/^`.+`$/.test(part)) return make('code', {}, part.slice(1, -1));
    if (/^\*\*.+\*\*$/.test(part)) return make('strong', {}, part.slice(2, -2));
    if (/^\*.+\*$/.test(part)) return make('em', {}, part.slice(1, -1));
    return document.createTextNode(part);
  });
}
