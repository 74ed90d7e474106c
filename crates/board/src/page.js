"use strict";
const refresh = async () => {
  if (document.hidden || String(getSelection())) return;
  try {
    const reply = await fetch("/", { cache: "no-store" });
    const page = new DOMParser().parseFromString(await reply.text(), "text/html");
    const fresh = page.querySelector("main");
    if (reply.ok && fresh) document.querySelector("main").replaceWith(document.adoptNode(fresh));
    document.body.classList.remove("stopped");
  } catch {
    document.body.classList.add("stopped");
  }
};
setInterval(refresh, 2000);
