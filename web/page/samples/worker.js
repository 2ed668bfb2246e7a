/**
 * Draws sample pictures away from the page's own thread: names and sizes in, pixels out.
 */

import { draw } from './solids.js';
import { scenes } from './scenes.js';

addEventListener('message', ({ data: { name, size } }) => {
  const rgba = draw(scenes[name](), size);
  postMessage({ name, size, rgba }, { transfer: [rgba.buffer] });
});
