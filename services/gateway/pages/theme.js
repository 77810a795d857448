// Light or dark: as the system has it, until somebody chooses. Runs before the first picture, so that none is in the
// other colours.

const PLACE = "sluice.theme";
const dark = matchMedia("(prefers-color-scheme: dark)");

export class Theme {
  #root = document.documentElement;

  constructor() {
    const chosen = localStorage.getItem(PLACE);
    if (chosen) this.#root.dataset.theme = chosen;
  }

  get isDark() {
    return this.#root.dataset.theme ? this.#root.dataset.theme === "dark" : dark.matches;
  }

  /** The button changes to the other one; the choice goes when it is what the system has anyway. */
  attach(button) {
    const show = () => button.setAttribute("aria-pressed", String(this.isDark));
    button.addEventListener("click", () => {
      this.#choose(this.isDark ? "light" : "dark");
      show();
    });
    dark.addEventListener("change", show);
    show();
  }

  #choose(theme) {
    if ((theme === "dark") === dark.matches) {
      delete this.#root.dataset.theme;
      localStorage.removeItem(PLACE);
    } else {
      this.#root.dataset.theme = theme;
      localStorage.setItem(PLACE, theme);
    }
  }
}

export const theme = new Theme();
