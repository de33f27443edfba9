async function handle(request) {
  const { pathname } = new URL(request.url);
  if (pathname === "/") return new Response("Hello from JavaScript");
  return new Response("not found", { status: 404 });
}

addEventListener("fetch", (event) => event.respondWith(handle(event.request)));
