/** Presses, moves and releases of the mouse's main button, a finger or a pen: of one at a time. */

/**
 * @typedef {{x: number, y: number}} Point CSS pixels from the element's corner
 * @typedef {{
 *   press?: (point: Point) => void, drag: (point: Point, isTouch: boolean) => void,
 *   release?: (point: Point, isTouch: boolean) => void, hover?: (point: Point) => void, leave?: () => void,
 * }} PointerHandlers `drag` only between `press` and `release`, `hover` only outside
 */

/** @type {(element: HTMLElement, handlers: PointerHandlers) => void} */
export function listenToPointer(element, { press, drag, release, hover, leave }) {
  /** @type {number | null} */
  let pressed = null;
  const point = (/** @type {PointerEvent} */ event) => {
    const box = element.getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top };
  };
  const isTouch = (/** @type {PointerEvent} */ event) => event.pointerType === "touch";
  const end = (/** @type {PointerEvent} */ event) => {
    if (event.pointerId === pressed) pressed = null;
  };
  element.addEventListener("pointerdown", (event) => {
    if (pressed !== null || event.button !== 0) return;
    pressed = event.pointerId;
    element.setPointerCapture(event.pointerId);
    press?.(point(event));
  });
  element.addEventListener("pointermove", (event) => {
    if (pressed === null && event.buttons === 0 && !isTouch(event)) hover?.(point(event));
    if (event.pointerId !== pressed) return;
    const coalesced = event.getCoalescedEvents?.() ?? [];
    for (const each of coalesced.length ? coalesced : [event]) drag(point(each), isTouch(event));
  });
  element.addEventListener("pointerup", (event) => {
    if (event.pointerId === pressed) release?.(point(event), isTouch(event));
    end(event);
  });
  element.addEventListener("pointercancel", end);
  element.addEventListener("pointerleave", () => leave?.());
}
