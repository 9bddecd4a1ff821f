/** The numbers of the page in one place. Lengths are in CSS pixels, times in ms, unless they say otherwise. */

export const SIDE = 28; // pixels of an image
export const NUM_PIXELS = SIDE * SIDE;

export const PAD = 280; // pixels of the pad
export const STROKE = { perExtent: 0.11, min: 5, max: 22 }; // width: of the drawing's longer side, as in MNIST
export const PICTURE = { size: 280, gap: 40 }; // that is saved

export const NAMED_BARS = 8; // at most so many bars have names and values
export const BARS_PER_ROW = { wide: 64, narrow: 32 };
export const NARROW = 400; // width of the code below which its rows are narrow

export const NUM_NEIGHBOURS = 5;
export const NUM_FRAMES = 9; // of an interpolation
export const PLAY = 2400; // from one end to the other
export const HASH_PAUSE = 300; // after the last change

export const MARGIN = 34; // around the points of the map
export const MARK = 10; // size of a digit on the map
export const RADIUS = 2.6; // of a dot
export const OUTLIERS = 0.005; // share of points beyond either end of an axis of the cube, in three dimensions
export const MAX_NAMED = 30; // labels in the legend and on the map
export const ON_MARK = 4; // a pointer so near to a test image points at it
export const TAP = 14; // and a finger
export const MOVED = 4; // a press that moves further is a drag
export const DEPTH_RADIUS = 20; // the place under the pointer is as deep in the space as the points around it
export const TURN = 0.008; // radians per pixel
export const KEY_TURN = 0.15; // radians
export const ZOOM = { step: 1.5, max: 30, perWheel: 0.01 };
export const GRID_CELL = 34; // of the latent grid behind a map of two dimensions

export const TILE = 1; // pixels between feature maps
export const STRONGEST = 10; // units outlined for a pixel
