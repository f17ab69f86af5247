// The built-in page: signing in here, everything else in `app/house.js`. It speaks the same public
// protocol as every other client, shows all text by `textContent` only, and keeps nothing but the
// sign-in and the unsettled messages of this tab.

import { House } from "./app/house.js";
import { complain, on, onSubmit, screen, show } from "./app/screen.js";
import { Session } from "./app/session.js";
import { refusal, switchLanguage, translate } from "./app/words.js";

let house = null;

const session = new Session({
  renewed: (token) => house?.link.renewed(token),
  ended: (why) => {
    showDoor();
    if (why) complain(refusal({ code: why }));
  },
});

if (session.user) showHouse();
else showDoor();

function showDoor() {
  house?.leave();
  house = null;
  show("#signed-out");
  onLanguage();
  onSubmit("#log-in", "log_in", async (account) => {
    await session.logIn(account);
    showHouse();
  });
  onSubmit("#register", "register", async (account, form) => {
    if (!account.setup_code) delete account.setup_code;
    try {
      await session.register(account);
    } catch (error) {
      if (error.fields?.includes("setup_code")) form.querySelector("#setup-code").hidden = false;
      throw error;
    }
    showHouse();
  });
}

function showHouse() {
  show("#signed-in");
  onLanguage();
  house = new House(session);
  house.enter();
}

function onLanguage() {
  on("#language", "click", () => {
    switchLanguage();
    translate(screen);
    house?.draw();
  });
}
