// Light or dark: as the system has it, until somebody chooses; the same choice as the other pages'.

const PLACE = "sluice.theme";
const dark = matchMedia("(prefers-color-scheme: dark)");
const root = document.documentElement;
const chosen = localStorage.getItem(PLACE);
if (chosen) root.dataset.theme = chosen;

export const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : dark.matches);

export function attach(button, changed) {
  const show = () => {
    button.setAttribute("aria-pressed", String(isDark()));
    changed();
  };
  button.addEventListener("click", () => {
    const theme = isDark() ? "light" : "dark";
    root.dataset.theme = theme;
    localStorage.setItem(PLACE, theme);
    show();
  });
  dark.addEventListener("change", show);
  show();
}
