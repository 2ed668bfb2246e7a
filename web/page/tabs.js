/**
 * Tabs by the ARIA pattern: arrow keys move between them, and the URL's fragment names the open one.
 */

/** @param {HTMLElement} list with role tablist */
export function tabs(list) {
  const all = /** @type {HTMLElement[]} */ ([...list.querySelectorAll('[role=tab]')]);
  const panel = (/** @type {HTMLElement} */ tab) =>
    /** @type {HTMLElement} */ (document.getElementById(tab.getAttribute('aria-controls') ?? ''));
  const open = (/** @type {HTMLElement} */ chosen) => {
    for (const tab of all) {
      tab.setAttribute('aria-selected', String(tab === chosen));
      tab.tabIndex = tab === chosen ? 0 : -1;
      panel(tab).hidden = tab !== chosen;
    }
    document.body.dataset.tab = chosen.id.replace('tab-', '');
  };
  const fromAddress = () => open(all.find((tab) => tab.id === `tab-${location.hash.slice(1)}`) ?? all[0]);
  const choose = (/** @type {HTMLElement} */ tab) => {
    open(tab);
    history.replaceState(null, '', `#${tab.id.replace('tab-', '')}`);
  };
  for (const tab of all) tab.addEventListener('click', () => choose(tab));
  list.addEventListener('keydown', (event) => {
    const at = all.findIndex((tab) => tab === document.activeElement);
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1 + all.length, Home: 0, End: all.length - 1 }[event.key];
    if (at < 0 || to === undefined) return;
    event.preventDefault();
    const next = all[to % all.length];
    choose(next);
    next.focus();
  });
  addEventListener('hashchange', fromAddress);
  fromAddress();
}
