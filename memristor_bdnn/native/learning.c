/* memristor_bdnn.native._kernels: mSGLD for Python. */
#include <stdlib.h>

#include "arrays.h"
#include "kernels.h"

/* Any array without gaps of this type of item; n is how many. */
static int all_of(PyObject *object, Py_buffer *view, char item, const char *name, Py_ssize_t *n) {
  if (PyObject_GetBuffer(object, view, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT)) return -1;
  if (is_item(view, item)) {
    *n = view->len / view->itemsize;
    return 0;
  }
  PyErr_Format(PyExc_ValueError, "%s: items of '%s' where '%c' is needed", name, view->format ? view->format : "B", item);
  PyBuffer_Release(view);
  return -1;
}

#define BYTES(n) ((Py_ssize_t)sizeof(float) * (n))

#ifdef __SIZEOF_INT128__
/* words(state, out): the next words of a PCG64 generator, of 4 words itself. */
static PyObject *words(PyObject *self, PyObject *const *args, Py_ssize_t n_args) {
  (void)self;
  Py_buffer state, out;
  Py_ssize_t n;
  if (counted(n_args, 2, "words") || flat(args[0], &state, 1, 'L', 4 * (Py_ssize_t)sizeof(uint64_t), "state")) return NULL;
  PyObject *result = NULL;
  if (!all_of(args[1], &out, 'L', "out", &n)) {
    if (out.readonly) {
      PyErr_SetString(PyExc_ValueError, "words: an array that cannot be written");
    } else {
      if (n) pcg64(state.buf, out.buf, n);
      result = none();
    }
    PyBuffer_Release(&out);
  }
  PyBuffer_Release(&state);
  return result;
}
#endif

/* uniforms(bits, out): of random words (n,) numbers in (0, 1]. */
static PyObject *uniforms(PyObject *self, PyObject *const *args, Py_ssize_t n_args) {
  (void)self;
  Py_buffer bits, out;
  Py_ssize_t n;
  if (counted(n_args, 2, "uniforms") || all_of(args[0], &bits, 'I', "bits", &n)) return NULL;
  PyObject *result = NULL;
  if (!flat(args[1], &out, 1, 'f', BYTES(n), "out")) {
    read_uniforms(bits.buf, out.buf, n);
    result = none();
    PyBuffer_Release(&out);
  }
  PyBuffer_Release(&bits);
  return result;
}

/* reads(bits, values, scale, state, floor): of logarithms (rows * cells) reads, in place; scale and state are (cells,). */
static PyObject *reads(PyObject *self, PyObject *const *args, Py_ssize_t n_args) {
  (void)self;
  Py_buffer bits, values, scale, state;
  Py_ssize_t n, cells;
  if (counted(n_args, 5, "reads")) return NULL;
  const float floor = (float)PyFloat_AsDouble(args[4]);
  if (PyErr_Occurred() || all_of(args[0], &bits, 'I', "bits", &n)) return NULL;
  PyObject *result = NULL;
  if (flat(args[1], &values, 1, 'f', BYTES(n), "values")) goto release_bits;
  if (all_of(args[2], &scale, 'f', "scale", &cells)) goto release_values;
  if (flat(args[3], &state, 0, 'f', BYTES(cells), "state")) goto release_scale;
  if (cells ? n % cells : n) {
    PyErr_Format(PyExc_ValueError, "reads: %zd values of %zd cells", n, cells);
  } else {
    if (n) read_values(bits.buf, values.buf, scale.buf, state.buf, floor, n / cells, cells);
    result = none();
  }
  PyBuffer_Release(&state);
release_scale:
  PyBuffer_Release(&scale);
release_values:
  PyBuffer_Release(&values);
release_bits:
  PyBuffer_Release(&bits);
  return result;
}

/* weights(currents, out, devices, offset, scale): out has one item for each so many currents. */
static PyObject *weights(PyObject *self, PyObject *const *args, Py_ssize_t n_args) {
  (void)self;
  Py_buffer currents, out;
  Py_ssize_t n;
  if (counted(n_args, 5, "weights")) return NULL;
  const Py_ssize_t devices = PyLong_AsSsize_t(args[2]);
  const float offset = (float)PyFloat_AsDouble(args[3]), scale = (float)PyFloat_AsDouble(args[4]);
  if (PyErr_Occurred() || all_of(args[0], &currents, 'f', "currents", &n)) return NULL;
  PyObject *result = NULL;
  if (devices < 1 || n % devices) {
    PyErr_Format(PyExc_ValueError, "weights: %zd currents of %zd devices each", n, devices);
  } else if (!flat(args[1], &out, 1, 'f', BYTES(n / devices), "out")) {
    weights_of(currents.buf, out.buf, n / devices, devices, offset, scale);
    result = none();
    PyBuffer_Release(&out);
  }
  PyBuffer_Release(&currents);
  return result;
}

/* How many blocks of rows of n numbers there are; -1 with an error set. */
static Py_ssize_t blocks(PyObject *rows_given, PyObject *n_given, Py_ssize_t all, Py_ssize_t *rows, Py_ssize_t *n) {
  *rows = PyLong_AsSsize_t(rows_given), *n = PyLong_AsSsize_t(n_given);
  if (PyErr_Occurred()) return -1;
  if (*rows >= 1 && *n >= 1 && *rows <= PY_SSIZE_T_MAX / *n && all % (*rows * *n) == 0) return all / (*rows * *n);
  PyErr_Format(PyExc_ValueError, "%zd numbers are no blocks of %zd rows of %zd", all, *rows, *n);
  return -1;
}

/* sigmoids(above, rows, n): of blocks (rows, n) all rows but the last from tanh(z / 2) to sigmoid(z). */
static PyObject *sigmoids(PyObject *self, PyObject *const *args, Py_ssize_t n_args) {
  (void)self;
  Py_buffer above;
  Py_ssize_t all, rows, n;
  if (counted(n_args, 3, "sigmoids") || all_of(args[0], &above, 'f', "above", &all)) return NULL;
  PyObject *result = NULL;
  const Py_ssize_t s = blocks(args[1], args[2], all, &rows, &n);
  if (s >= 0 && above.readonly) {
    PyErr_SetString(PyExc_ValueError, "sigmoids: an array that cannot be written");
  } else if (s >= 0) {
    to_sigmoids(above.buf, s, rows, n);
    result = none();
  }
  PyBuffer_Release(&above);
  return result;
}

/* slopes(delta, above, rows, n): errors (rows - 1, n) of each block times h (1 - h) of above (rows, n). */
static PyObject *slopes(PyObject *self, PyObject *const *args, Py_ssize_t n_args) {
  (void)self;
  Py_buffer delta, above;
  Py_ssize_t all, rows, n;
  if (counted(n_args, 4, "slopes") || all_of(args[1], &above, 'f', "above", &all)) return NULL;
  PyObject *result = NULL;
  const Py_ssize_t s = blocks(args[2], args[3], all, &rows, &n);
  if (s >= 0 && !flat(args[0], &delta, 1, 'f', BYTES(s * (rows - 1) * n), "delta")) {
    times_slopes(delta.buf, above.buf, s, rows, n);
    result = none();
    PyBuffer_Release(&delta);
  }
  PyBuffer_Release(&above);
  return result;
}

/* marked(gradient, mean, square, average, marked, (keep, take, correction, count, needed)): gradient (evaluations * n,). */
static PyObject *marked(PyObject *self, PyObject *const *args, Py_ssize_t n_args) {
  (void)self;
  Py_buffer gradient, out[4];
  Py_ssize_t all, n;
  Vote vote;
  if (counted(n_args, 6, "marked")) return NULL;
  if (!PyArg_ParseTuple(args[5], "fffni", &vote.keep, &vote.take, &vote.correction, &vote.count, &vote.needed)) return NULL;
  if (all_of(args[0], &gradient, 'f', "gradient", &all)) return NULL;
  PyObject *result = NULL;
  int held = 0;
  const char *const names[] = {"mean", "square", "average"};
  if (all_of(args[4], &out[3], '?', "marked", &n)) goto release_gradient;
  for (; held < 3; held++)
    if (flat(args[1 + held], &out[held], 1, 'f', BYTES(n), names[held])) goto release;
  if (out[3].readonly || n < 1 || n > INT32_MAX || all < n || all % n || vote.count < 0 || vote.count > n) {
    PyErr_Format(PyExc_ValueError, "marked: %zd gradients of %zd weights, %zd to mark", all, n, vote.count);
    goto release;
  }
  uint32_t *work = malloc(3 * sizeof *work * (size_t)n);
  if (!work) {
    PyErr_NoMemory();
    goto release;
  }
  vote.gradient = gradient.buf, vote.evaluations = all / n, vote.n = n;
  vote.mean = out[0].buf, vote.square = out[1].buf, vote.average = out[2].buf;
  marks(&vote, work, out[3].buf);
  free(work);
  result = none();
release:
  while (held) PyBuffer_Release(&out[--held]);
  PyBuffer_Release(&out[3]);
release_gradient:
  PyBuffer_Release(&gradient);
  return result;
}

#if defined(__GNUC__) /* look.c wants its vectors */
/* Whether sizes, of n_layers + 1 numbers, are those of networks with so many weights and one output. */
static int chained(const Networks *nets, Py_ssize_t *widest) {
  int64_t total = 0;
  *widest = 0;
  if (nets->n_layers < 1 || nets->sizes[nets->n_layers] != 1) return 0;
  for (Py_ssize_t k = 0; k <= nets->n_layers; k++) {
    if (nets->sizes[k] < 1 || nets->sizes[k] > 1 << 20) return 0;
    if (nets->sizes[k] > *widest) *widest = nets->sizes[k];
    if (k) total += (nets->sizes[k - 1] + 1) * nets->sizes[k];
  }
  return total == nets->n_weights;
}

/* looked(sizes, weights, networks, rows, out): outputs (networks, n) at rows (n, sizes[0]). */
static PyObject *looked(PyObject *self, PyObject *const *args, Py_ssize_t n_args) {
  (void)self;
  Py_buffer sizes, given, rows, out;
  Py_ssize_t n_sizes, all, numbers, widest;
  Networks nets;
  if (counted(n_args, 5, "looked")) return NULL;
  nets.networks = PyLong_AsSsize_t(args[2]);
  if (PyErr_Occurred() || all_of(args[0], &sizes, 'l', "sizes", &n_sizes)) return NULL;
  PyObject *result = NULL;
  if (all_of(args[1], &given, 'f', "weights", &all)) goto release_sizes;
  if (all_of(args[3], &rows, 'f', "rows", &numbers)) goto release_weights;
  nets.sizes = sizes.buf, nets.n_layers = n_sizes - 1, nets.weights = given.buf;
  nets.n_weights = nets.networks > 0 && all % nets.networks == 0 ? all / nets.networks : 0;
  if (!chained(&nets, &widest) || numbers % nets.sizes[0]) {
    PyErr_SetString(PyExc_ValueError, "looked: weights, sizes and rows are not those of the same networks");
    goto release_rows;
  }
  const Py_ssize_t n = numbers / nets.sizes[0];
  if (flat(args[4], &out, 1, 'f', BYTES(nets.networks * n), "out")) goto release_rows;
  float *work = malloc(sizeof(float) * 3 * LOOK_ROWS * (size_t)widest + 64);
  if (!work) {
    PyErr_NoMemory();
  } else {
    Py_BEGIN_ALLOW_THREADS;
    look(&nets, rows.buf, n, (float *)(((uintptr_t)work + 63) / 64 * 64), out.buf);
    Py_END_ALLOW_THREADS;
    free(work);
    result = none();
  }
  PyBuffer_Release(&out);
release_rows:
  PyBuffer_Release(&rows);
release_weights:
  PyBuffer_Release(&given);
release_sizes:
  PyBuffer_Release(&sizes);
  return result;
}
#endif

PyMethodDef learning_methods[] = {
#ifdef __SIZEOF_INT128__
    {"words", FAST(words), "words(state, out): the next words of a PCG64 generator."},
#endif
    {"uniforms", FAST(uniforms), "uniforms(bits, out): numbers in (0, 1] of random words."},
    {"reads", FAST(reads), "reads(bits, values, scale, state, floor): reads of logarithms, in place."},
    {"weights", FAST(weights), "weights(currents, out, devices, offset, scale): weights of their devices' currents."},
    {"sigmoids", FAST(sigmoids), "sigmoids(above, rows, n): units from tanh(z / 2) to sigmoid(z), in place."},
    {"slopes", FAST(slopes), "slopes(delta, above, rows, n): errors times the slope of their units."},
    {"marked", FAST(marked), "marked(gradient, mean, square, average, marked, numbers): which weights are pulsed."},
#if defined(__GNUC__)
    {"looked", FAST(looked), "looked(sizes, weights, networks, rows, out): a first look at rows."},
#endif
    {NULL, NULL, 0, NULL},
};
