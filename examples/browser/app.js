import { call, isLoggedIn, login, logout } from "./session.js";

const find = (id) => document.getElementById(id);

async function show() {
  find("login").hidden = isLoggedIn();
  find("account").hidden = !isLoggedIn();
  if (!isLoggedIn()) return;
  const response = await call("/users/me");
  const body = await response.json();
  if (!response.ok) throw new Error(body.detail);
  find("name").textContent = body.display_name ?? body.username;
}

// Runs an action, shows its error, and then what is true.
async function act(action) {
  find("error").textContent = "";
  try {
    await action();
    await show();
  } catch (error) {
    find("error").textContent = error.message;
    find("login").hidden = isLoggedIn();
    find("account").hidden = !isLoggedIn();
  }
}

find("login").addEventListener("submit", (event) => {
  event.preventDefault();
  const form = event.target;
  act(() => login(form.username.value, form.password.value)).finally(() => form.password.value = "");
});
find("reload").addEventListener("click", () => act(() => {}));
find("logout").addEventListener("click", () => act(logout));
act(() => {});
