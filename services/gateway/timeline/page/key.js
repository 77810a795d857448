// The API key, if the server wants one: asked for in a dialog, kept for this tab only, as the other pages keep it.

const PLACE = "sluice.key";
const find = (id) => document.getElementById(id);

export const key = () => sessionStorage.getItem(PLACE) ?? "";

let asking = null;

/** True if there is one now. All who ask at the same time share the dialog. */
export function ask() {
  asking ??= show(key() !== "").finally(() => (asking = null));
  return asking;
}

function show(wrong) {
  const dialog = find("key");
  const field = find("key-field");
  find("key-note").textContent = wrong
    ? "The server does not know this key. Try another."
    : "It stays in this tab and is forgotten when you close it.";
  field.value = "";
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    find("key-cancel").onclick = () => dialog.close();
    dialog.addEventListener(
      "close",
      () => {
        const given = dialog.returnValue === "given" && field.value.trim() !== "";
        if (given) sessionStorage.setItem(PLACE, field.value.trim());
        field.value = "";
        resolve(given);
      },
      { once: true },
    );
  });
}
