/**
 * The page as visitors use it, in a real Chromium with WebGPU on its software adapter.
 */

import assert from 'node:assert/strict';
import { readFile, writeFile, mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { answered, bars, commandLine, drop, file, launch, model, patience, ready, serve, shoot, state, visit } from './browser.mjs';

const picture = (name) => file(`tests/images/${name}`);

/** Checks that the page shows the command line's classes in the same order, and probabilities to 1e-4. */
async function agrees(page, path, checkpoint = model) {
  const [{ predictions }] = await commandLine('predict', checkpoint, path, '--json', '--device', 'cpu');
  const shown = await bars(page);
  for (const [rank, { class: name, probability }] of predictions.slice(0, 5).entries()) {
    assert.equal(shown[rank].class, name, `rank ${rank}`);
    assert.ok(Math.abs(shown[rank].probability - probability) <= 1e-4, `${name}: ${shown[rank].probability}, ${probability}`);
  }
}

describe('with WebGPU', { timeout: 10 * patience }, () => {
  let server, browser, page, faults;

  before(async () => {
    server = await serve();
    browser = await launch();
    ({ page, faults } = await visit(browser.context, server));
    await ready(page);
    await answered(page);
  });

  after(async () => {
    await browser?.close();
    await server?.close();
  });

  test('the page names its device and starts with an answer', async () => {
    assert.equal(await page.evaluate(() => document.body.dataset.device), 'software');
    const { text } = await state(page);
    assert.match(text, /software/);
    assert.match(await page.innerText('#time-device'), /WebGPU/);
    assert.match(await page.innerText('#time-first'), / m?s$/);
    assert.equal((await bars(page)).length, 5);
    assert.match(await page.innerText('#classes'), /airplane.*truck/);
    await page.click('#card summary');
    assert.match(await page.innerText('#card-facts'), /PyramidNet-\d+/);
    assert.ok((await page.innerText('#card-text')).length > 100);
    await shoot(page, 'ready');
  });

  test('a dropped picture gets the answer of the command line', async () => {
    for (const name of ['rotated.jpg', 'cmyk.jpg', 'clear.png', 'grey.png']) {
      const path = picture(name);
      await drop(page, name, await readFile(path));
      await agrees(page, path);
    }
  });

  test('unusual files get an answer or an error message', async () => {
    const large = await page.evaluate(async () => {
      const canvas = new OffscreenCanvas(4000, 3000);
      const context = canvas.getContext('2d');
      const ramp = context.createLinearGradient(0, 0, 4000, 3000);
      ramp.addColorStop(0, 'navy');
      ramp.addColorStop(1, 'orange');
      context.fillStyle = ramp;
      context.fillRect(0, 0, 4000, 3000);
      const blob = await canvas.convertToBlob({ type: 'image/jpeg' });
      return [...new Uint8Array(await blob.arrayBuffer())];
    });
    const lying = await readFile(picture('rotated.jpg'));
    const cases = [
      ...['pixel.png', 'moving.gif', 'image.avif', 'ycck.jpg'].map(async (name) => [name, await readFile(picture(name)), true]),
      ['large.jpg', Uint8Array.from(large), true],
      ['broken.jpg', lying.subarray(0, lying.length / 2), false],
      ['notes.txt', Buffer.from('This is no picture.'), false],
      ['empty.png', Buffer.alloc(0), false],
    ];
    for (const each of cases) {
      const [name, bytes, fine] = await each;
      await drop(page, name, bytes);
      const { kind, id, text } = await state(page);
      if (fine) assert.notEqual(id, 'picture', `${name}: ${text}`);
      else {
        assert.equal(`${kind} ${id}`, 'error picture', name);
        assert.ok(text.includes(name), text);
        assert.ok((await bars(page)).every(({ off }) => off), name);
      }
      await shoot(page, `odd-${name}`);
    }
    await drop(page, 'rotated.jpg', lying);
    assert.notEqual((await state(page)).id, 'picture', 'a good picture clears the message');
  });

  test('the newest of many clicks wins', async () => {
    const samples = page.locator('#samples button');
    const count = await samples.count();
    for (let i = 0; i < 3 * count; i++) await samples.nth(i % count).click();
    const last = await samples.nth(count - 1).getAttribute('aria-label') ?? await samples.nth(count - 1).innerText();
    await answered(page);
    const name = await page.innerText('#picture-name');
    assert.ok(name && last.includes(name.split(', ').pop()), `${last}: ${name}`);
    for (let i = 0; i < 10; i++) await page.click('#again', { force: true });
    await answered(page);
    assert.match(await page.innerText('#time-later'), / m?s/);
  });

  test('the stages and the class activation map of any class are shown', async () => {
    assert.equal(await page.locator('#pyramid figure').count(), 4);
    await page.click('#activation-classes button:nth-child(3)');
    await page.waitForFunction(() => document.querySelector('#activation-classes button:nth-child(3)').getAttribute('aria-pressed') === 'true');
    assert.match(await page.innerText('#activation-text'), /bird/);
    // Resizing the window does not change the state.
    const before = await state(page);
    const size = page.viewportSize();
    await page.setViewportSize({ width: 400, height: 800 });
    await page.waitForTimeout(500);
    await page.setViewportSize(size);
    await page.waitForTimeout(500);
    assert.deepEqual(await state(page), before);
  });

  test('the preprocessing of a checkpoint is obeyed', async () => {
    const path = picture('rotated.jpg');
    await drop(page, 'rotated.jpg', await readFile(path));
    const whole = await bars(page);
    // The shipped model, with the centre of images whose shorter side is 40 as its input.
    const bytes = await readFile(model);
    const at = bytes.indexOf('shorter_side\\":32');
    assert.ok(at > 0);
    bytes.write('shorter_side\\":40', at);
    const centre = join(await mkdtemp(join(tmpdir(), 'pyr-wgpu-centre-')), 'centre.safetensors');
    await writeFile(centre, bytes);
    await page.setInputFiles('#own-file', centre);
    await page.waitForFunction(() => document.body.dataset.model === 'centre.safetensors');
    await answered(page);
    await agrees(page, path, centre);
    assert.notDeepEqual(await bars(page), whole);
    await page.click('#shipped');
    await page.waitForFunction(() => document.body.dataset.model === 'cifar10.safetensors');
    await answered(page);
  });

  test('the visitor\'s checkpoint opens, an invalid one is refused with the reason', async () => {
    const golden = file('tests/golden/additive_basic.safetensors');
    await page.setInputFiles('#own-file', golden);
    await page.waitForFunction(() => document.body.dataset.model === 'additive_basic.safetensors');
    await answered(page);
    await drop(page, 'rotated.jpg', await readFile(picture('rotated.jpg')));
    await agrees(page, picture('rotated.jpg'), golden);
    const whole = await readFile(golden);
    const folder = await mkdtemp(join(tmpdir(), 'pyr-wgpu-wrong-'));
    for (const [name, bytes, reason] of [
      ['half.safetensors', whole.subarray(0, whole.length / 2), /./],
      ['text.safetensors', Buffer.from('not tensors at all'), /./],
    ]) {
      await writeFile(join(folder, name), bytes);
      await page.setInputFiles('#own-file', join(folder, name));
      await page.waitForFunction((name) => document.getElementById('state').innerText.includes(name), name);
      const { kind, id, text } = await state(page);
      assert.equal(`${kind} ${id}`, 'error checkpoint', text);
      assert.match(text, reason);
      await shoot(page, `wrong-${name}`);
      assert.equal(await page.evaluate(() => document.body.dataset.model), 'additive_basic.safetensors', 'the previous one stays');
    }
    await page.click('#shipped');
    await page.waitForFunction(() => document.body.dataset.model === 'cifar10.safetensors');
    await answered(page);
  });

  test('weights of other programs open', async () => {
    const path = picture('rotated.jpg');
    await drop(page, 'rotated.jpg', await readFile(path));
    for (const name of ['additive_bottleneck.pth', 'additive_bottleneck.t7', 'additive_bottleneck.caffemodel']) {
      const own = file(`tests/foreign/${name}`);
      await page.setInputFiles('#own-file', own);
      await page.waitForFunction((name) => document.body.dataset.model === name, name);
      await answered(page);
      await agrees(page, path, own);
    }
    await page.click('#shipped');
    await page.waitForFunction(() => document.body.dataset.model === 'cifar10.safetensors');
    await answered(page);
  });

  test('a lost device comes back', async () => {
    const workers = page.workers().filter((worker) => worker.url().endsWith('/worker.js'));
    assert.equal(workers.length, 1);
    await workers[0].evaluate(() => dispatchEvent(new MessageEvent('message', { data: { id: -1, type: 'lose' } })));
    await page.click('#again');
    await page.waitForFunction(() => document.getElementById('state').dataset.id === 'lost' && /back/.test(document.getElementById('state').innerText));
    await shoot(page, 'recovered');
    await drop(page, 'rotated.jpg', await readFile(picture('rotated.jpg')));
    await agrees(page, picture('rotated.jpg'));
  });

  test('it works offline after the first visit', async () => {
    await page.waitForFunction(() => document.body.dataset.offline === 'ready');
    const alone = await visit(browser.context, server);
    await answered(alone.page);
    await server.close();
    await alone.page.reload();
    await ready(alone.page);
    await answered(alone.page);
    await shoot(alone.page, 'offline');
    assert.deepEqual(alone.faults, []);
    await alone.page.close();
  });

  test('there were no errors, and no requests to other servers', () => {
    assert.deepEqual(faults, []);
  });
});

describe('without an adapter', { timeout: 5 * patience }, () => {
  let server, browser;

  before(async () => {
    server = await serve();
    browser = await launch({ webgpu: false, viewport: { width: 360, height: 740 }, dark: true });
  });

  after(async () => {
    await browser?.close();
    await server?.close();
  });

  test('without the requested graphics card the page offers the processor, even while the network loads', async () => {
    let release;
    const held = new Promise((resolve) => { release = resolve; });
    await browser.context.route('**/*.safetensors', (route) => held.then(() => route.continue()));
    const { page, faults } = await visit(browser.context, server, '?device=gpu');
    await page.waitForFunction(() => document.getElementById('state').dataset.kind === 'error');
    await shoot(page, 'no-adapter');
    await page.click('#state-actions button');
    release();
    await ready(page);
    await answered(page);
    assert.equal(await page.evaluate(() => document.body.dataset.device), 'cpu');
    assert.deepEqual(faults, []);
    await page.close();
    await browser.context.unroute('**/*.safetensors');
  });

  test('the page runs on the processor and says so', async () => {
    const { page, faults } = await visit(browser.context, server);
    await ready(page);
    assert.equal(await page.evaluate(() => document.body.dataset.device), 'cpu');
    assert.match((await state(page)).text, /no graphics adapter/);
    await answered(page);
    await drop(page, 'rotated.jpg', await readFile(picture('rotated.jpg')));
    await agrees(page, picture('rotated.jpg'));
    const width = await page.evaluate(() => document.documentElement.scrollWidth);
    assert.ok(width <= 360, `${width} pixels wide on a phone`);
    await shoot(page, 'telephone-dark');
    assert.deepEqual(faults, []);
    await page.close();
  });
});

describe('training', { timeout: 10 * patience }, () => {
  let server, browser;

  before(async () => {
    server = await serve();
    browser = await launch();
  });

  after(async () => {
    await browser?.close();
    await server?.close();
  });

  /** Number in an element. */
  const number = async (page, id) => Number.parseFloat(await page.innerText(`#${id}`));

  test('an epoch lowers the loss, and the download evaluates equally on the command line', async () => {
    const { page, faults } = await visit(browser.context, server, '?device=cpu');
    await ready(page);
    await page.click('#tab-train');
    await page.click('#train-start');
    await page.waitForFunction(() => Number.parseFloat(document.getElementById('train-step').textContent) > 0);
    const first = await number(page, 'train-loss');
    // A picture is classified meanwhile.
    await page.click('#tab-classify');
    await drop(page, 'rotated.jpg', await readFile(picture('rotated.jpg')));
    await page.click('#tab-train');
    // When the last step of the epoch is shown, its evaluation is running: the pause follows it.
    await page.waitForFunction(() => document.getElementById('train-step').textContent === '250 of 250', null, { timeout: 5 * patience });
    await page.click('#train-pause');
    await page.waitForFunction(() => document.body.dataset.training === 'paused');
    const last = await number(page, 'train-loss');
    assert.ok(last < 0.75 * first, `the loss went from ${first} to ${last}`);
    const shown = await page.innerText('#train-error');
    await shoot(page, 'trained');
    const right = await number(page, 'exam-title') / 64;
    assert.ok(Math.abs(1 - right - Number.parseFloat(shown) / 100) < 0.25, `${right} of the images shown are correct, the test error is ${shown}`);
    const [download] = await Promise.all([page.waitForEvent('download'), page.click('#train-save')]);
    const path = join(await mkdtemp(join(tmpdir(), 'pyr-wgpu-trained-')), download.suggestedFilename());
    await download.saveAs(path);
    const report = await commandLine('eval', path, '--dataset', 'shapes', '--device', 'cpu', '--json', '--quiet');
    // Equal arithmetic up to rounding: at most one of the 2,000 images may be classified differently.
    assert.ok(Math.abs(report.top1_error - Number.parseFloat(shown)) <= 0.1, `${report.top1_error} on the command line, ${shown} in the page`);
    assert.deepEqual(faults, []);
    await page.close();
  });

  test('training on the adapter pauses, resumes and stops', async () => {
    const { page, faults } = await visit(browser.context, server, '?device=gpu');
    await ready(page);
    await page.click('#tab-train');
    await page.click('#train-start');
    const step = () => number(page, 'train-step');
    await page.waitForFunction(() => Number.parseFloat(document.getElementById('train-step').textContent) > 1);
    await page.click('#train-pause');
    await page.waitForFunction(() => document.body.dataset.training === 'paused');
    const held = await step();
    await page.waitForTimeout(3000);
    assert.equal(await step(), held, 'no step runs while paused');
    await page.click('#train-pause');
    await page.waitForFunction((held) => Number.parseFloat(document.getElementById('train-step').textContent) > held, held);
    await page.click('#train-stop');
    await page.waitForFunction(() => document.body.dataset.training === 'stopped');
    assert.deepEqual(faults, []);
    await page.close();
  });
});
