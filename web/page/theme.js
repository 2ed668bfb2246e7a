/*
 * Sets the light or dark theme before the first paint: the visitor's earlier choice, else the system's.
 * A plain script, because a module would run after the first paint.
 */
(() => {
  const root = document.documentElement;
  const system = matchMedia('(prefers-color-scheme: dark)');
  const chosen = () => {
    try { return localStorage.getItem('theme'); } catch { return null; }
  };
  const apply = () => {
    root.dataset.theme = chosen() ?? (system.matches ? 'dark' : 'light');
    root.dispatchEvent(new Event('themechange'));
  };
  system.addEventListener('change', apply);
  addEventListener('storage', apply);
  addEventListener('click', (event) => {
    const button = event.target instanceof Element && event.target.closest('#theme');
    if (!button) return;
    const next = root.dataset.theme === 'dark' ? 'light' : 'dark';
    // Storage may be disabled; then the choice lasts until the page is closed.
    try { localStorage.setItem('theme', next); } catch { /* see above */ }
    root.dataset.theme = next;
    root.dispatchEvent(new Event('themechange'));
  });
  apply();
})();
