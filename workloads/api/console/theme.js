// A classic script, not a module: it sets the theme before the first paint.
{
  const NAME = 'switchyard.theme';
  const NEXT = { system: 'light', light: 'dark', dark: 'system' };

  const stored = () => {
    try {
      return localStorage.getItem(NAME) ?? 'system';
    } catch {
      return 'system';
    }
  };

  const apply = (theme) => {
    if (theme === 'system') delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
  };

  let theme = stored() in NEXT ? stored() : 'system';
  apply(theme);

  document.addEventListener('DOMContentLoaded', () => {
    const button = document.getElementById('theme');
    button.textContent = `Theme: ${theme}`;
    button.addEventListener('click', () => {
      theme = NEXT[theme];
      apply(theme);
      button.textContent = `Theme: ${theme}`;
      try {
        localStorage.setItem(NAME, theme);
      } catch {
        // Without storage the choice lasts as long as the page.
      }
    });
  });
}
