/* memristor_bdnn.native._kernels: the kernels for Python, over any arrays with the buffer protocol.
 *
 * Arrays are checked (type, shape, order) before a kernel runs: a wrong one is a TypeError or ValueError and never a
 * wrong address.
 */
#include "arrays.h"
#include "kernels.h"

/* Configurations or poses from which other threads may run meanwhile. */
#define MANY 64

static int is_double(const Py_buffer *view) {
  return view->itemsize == sizeof(double) && view->format && !strcmp(view->format, "d");
}

/* Read an array of doubles with so many dimensions, whatever its strides; returns 0, or -1 with an error set. */
static int numbers(PyObject *object, Py_buffer *view, int ndim, const char *name) {
  if (PyObject_GetBuffer(object, view, PyBUF_RECORDS_RO)) return -1;
  if (is_double(view) && view->ndim == ndim) return 0;
  PyErr_Format(PyExc_TypeError, "%s: an array of float64 with %d dimensions, in this machine's byte order", name, ndim);
  PyBuffer_Release(view);
  return -1;
}

/* frames(constants, dof, q, out): constants are origins (dof, 16), axes (dof, 3) and tool (16) as bytes. */
static PyObject *frames(PyObject *self, PyObject *const *args, Py_ssize_t n_args) {
  (void)self;
  Py_buffer q, out;
  if (counted(n_args, 4, "frames")) return NULL;
  long dof = PyLong_AsLong(args[1]);
  if (dof == -1 && PyErr_Occurred()) return NULL;
  Py_ssize_t needed = (Py_ssize_t)sizeof(double) * (19 * dof + 16);
  if (dof < 1 || dof > MAX_JOINTS || !PyBytes_Check(args[0]) || PyBytes_GET_SIZE(args[0]) != needed) {
    PyErr_SetString(PyExc_ValueError, "frames: constants are not those of as many joints");
    return NULL;
  }
  if (PyObject_GetBuffer(args[2], &q, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT)) return NULL;
  Py_ssize_t n = q.len / (Py_ssize_t)(dof * sizeof(double));
  if (!is_double(&q) || !q.ndim || q.shape[q.ndim - 1] != dof) {
    PyErr_Format(PyExc_ValueError, "frames: configurations must be float64 with a last dimension of %ld", dof);
    PyBuffer_Release(&q);
    return NULL;
  }
  if (PyObject_GetBuffer(args[3], &out, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT | PyBUF_WRITABLE)) {
    PyBuffer_Release(&q);
    return NULL;
  }
  Py_ssize_t a_pose = n * 16 * (Py_ssize_t)sizeof(double);
  PyObject *result = NULL;
  if (!is_double(&out) || (out.len != a_pose && out.len != a_pose * (dof + 1))) {
    PyErr_SetString(PyExc_ValueError, "frames: out must be float64 with a pose, or dof + 1 of them, a configuration");
  } else {
    const double *constants = (const double *)PyBytes_AS_STRING(args[0]);
    const Chain chain = {(int)dof, constants, constants + 16 * dof, constants + 19 * dof};
    PyThreadState *others = n >= MANY ? PyEval_SaveThread() : NULL;
    chain_frames(&chain, q.buf, n, out.len == a_pose, out.buf);
    if (others) PyEval_RestoreThread(others);
    result = none();
  }
  PyBuffer_Release(&out);
  PyBuffer_Release(&q);
  return result;
}

typedef void (*Solve)(const double *, Poses, Numbers, ptrdiff_t, double *, uint8_t *);

/* SOLVER(constants, poses, free, q, valid): constants as bytes, poses (n, 4, 4), free (n,), q (n, 8, dof), valid (n, 8). */
static PyObject *solved(PyObject *const *args, Py_ssize_t n_args, Solve solve, int dof, int n_constants, const char *name) {
  Py_buffer poses, free, q, valid;
  if (counted(n_args, 5, name)) return NULL;
  if (!PyBytes_Check(args[0]) || PyBytes_GET_SIZE(args[0]) != (Py_ssize_t)(n_constants * sizeof(double))) {
    PyErr_Format(PyExc_ValueError, "%s: constants must be %d doubles as bytes", name, n_constants);
    return NULL;
  }
  if (numbers(args[1], &poses, 3, "poses")) return NULL;
  PyObject *result = NULL;
  const Py_ssize_t n = poses.shape[0];
  if (numbers(args[2], &free, 1, "free values")) goto release_poses;
  if (poses.shape[1] != 4 || poses.shape[2] != 4 || free.shape[0] != n) {
    PyErr_Format(PyExc_ValueError, "%s: poses (n, 4, 4) and free values (n,), not (%zd, %zd, %zd) and (%zd,)", name, n,
                 poses.shape[1], poses.shape[2], free.shape[0]);
    goto release_free;
  }
  if (flat(args[3], &q, 1, 'd', n * BRANCHES * dof * (Py_ssize_t)sizeof(double), "q")) goto release_free;
  if (flat(args[4], &valid, 1, '?', n * BRANCHES, "valid")) goto release_q;
  const Poses given = {poses.buf, poses.strides[0], poses.strides[1], poses.strides[2]};
  const Numbers values = {free.buf, free.strides[0]};
  PyThreadState *others = n >= MANY ? PyEval_SaveThread() : NULL;
  solve((const double *)PyBytes_AS_STRING(args[0]), given, values, n, q.buf, valid.buf);
  if (others) PyEval_RestoreThread(others);
  result = none();
  PyBuffer_Release(&valid);
release_q:
  PyBuffer_Release(&q);
release_free:
  PyBuffer_Release(&free);
release_poses:
  PyBuffer_Release(&poses);
  return result;
}

static PyObject *panda(PyObject *self, PyObject *const *args, Py_ssize_t n) {
  (void)self;
  return solved(args, n, panda_solve, PANDA_JOINTS, PANDA_CONSTANTS, "panda");
}

static PyObject *srs(PyObject *self, PyObject *const *args, Py_ssize_t n) {
  (void)self;
  return solved(args, n, srs_solve, SRS_JOINTS, SRS_CONSTANTS, "srs");
}

static PyObject *ur(PyObject *self, PyObject *const *args, Py_ssize_t n) {
  (void)self;
  return solved(args, n, ur_solve, UR_JOINTS, UR_CONSTANTS, "ur");
}

/* -- the step of EaPU ----------------------------------------------------------------------------------------------- */

/* Parameters as bytes: addresses of tensors, which the caller has looked at and keeps. NULL with an error set. */
static const Segment *segments_of(PyObject *object, Py_ssize_t *n, int64_t *cells) {
  if (!PyBytes_Check(object) || PyBytes_GET_SIZE(object) % (Py_ssize_t)sizeof(Segment)) {
    PyErr_SetString(PyExc_ValueError, "parameters must be packed as bytes");
    return NULL;
  }
  const Segment *segments = (const Segment *)PyBytes_AS_STRING(object);
  *n = PyBytes_GET_SIZE(object) / (Py_ssize_t)sizeof(Segment);
  *cells = 0;
  for (Py_ssize_t k = 0; k < *n; k++) *cells += segments[k].n;
  return segments;
}

/* A threshold above 0 and a key of 64 bits; -1 with an error set. */
static int drawn_with(PyObject *threshold, PyObject *key, float *t, uint64_t *k) {
  *t = (float)PyFloat_AsDouble(threshold);
  if (PyErr_Occurred()) return -1;
  if (!(*t > 0)) {
    PyErr_SetString(PyExc_ValueError, "the threshold must be above 0");
    return -1;
  }
  *k = PyLong_AsUnsignedLongLong(key);
  return PyErr_Occurred() ? -1 : 0;
}

/* eapu_finite(parameters): whether every gradient is. */
static PyObject *eapu_finite(PyObject *self, PyObject *parameters) {
  (void)self;
  Py_ssize_t n;
  int64_t cells;
  const Segment *segments = segments_of(parameters, &n, &cells);
  if (!segments) return NULL;
  int finite;
  Py_BEGIN_ALLOW_THREADS;
  finite = gradients_finite(segments, n);
  Py_END_ALLOW_THREADS;
  return PyBool_FromLong(finite);
}

/* eapu_step(cells, others, threshold, key, index, change): Adam's step of all parameters and the choice among the cells.
 *
 * How many were chosen; -1 where a step is not finite.
 */
static PyObject *eapu_step(PyObject *self, PyObject *const *args, Py_ssize_t n_args) {
  (void)self;
  Py_ssize_t n, n_others;
  int64_t cells, plain;
  float threshold;
  uint64_t key;
  Py_buffer index, change;
  if (counted(n_args, 6, "eapu_step")) return NULL;
  const Segment *segments = segments_of(args[0], &n, &cells), *others;
  if (!segments || !(others = segments_of(args[1], &n_others, &plain))) return NULL;
  if (drawn_with(args[2], args[3], &threshold, &key)) return NULL;
  if (flat(args[4], &index, 1, 'l', cells * (Py_ssize_t)sizeof(int64_t), "index")) return NULL;
  if (flat(args[5], &change, 1, 'f', cells * (Py_ssize_t)sizeof(float), "change")) {
    PyBuffer_Release(&index);
    return NULL;
  }
  ptrdiff_t count = 0;
  Py_BEGIN_ALLOW_THREADS;
  for (Py_ssize_t k = 0; k < n_others; k++) adam_plain(others + k);
  count = step_cells(segments, n, threshold, key, index.buf, change.buf);
  Py_END_ALLOW_THREADS;
  PyBuffer_Release(&change);
  PyBuffer_Release(&index);
  return PyLong_FromSsize_t(count);
}

/* eapu_choose(delta, threshold, key, first, index, change): how many of the steps delta (n,) were chosen. */
static PyObject *eapu_choose(PyObject *self, PyObject *const *args, Py_ssize_t n_args) {
  (void)self;
  float threshold;
  uint64_t key;
  Py_buffer delta, index, change;
  PyObject *result = NULL;
  if (counted(n_args, 6, "eapu_choose") || drawn_with(args[1], args[2], &threshold, &key)) return NULL;
  Py_ssize_t first = PyLong_AsSsize_t(args[3]);
  if (PyErr_Occurred()) return NULL;
  if (PyObject_GetBuffer(args[0], &delta, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT)) return NULL;
  Py_ssize_t n = delta.len / (Py_ssize_t)sizeof(float);
  if (first < 0 || !is_item(&delta, 'f')) {
    PyErr_SetString(PyExc_ValueError, "eapu_choose: steps must be float32, their first number not below 0");
    goto release_delta;
  }
  if (flat(args[4], &index, 1, 'l', n * (Py_ssize_t)sizeof(int64_t), "index")) goto release_delta;
  if (flat(args[5], &change, 1, 'f', n * (Py_ssize_t)sizeof(float), "change")) goto release_index;
  result = PyLong_FromSsize_t(choose(delta.buf, n, threshold, key, first, index.buf, change.buf));
  PyBuffer_Release(&change);
release_index:
  PyBuffer_Release(&index);
release_delta:
  PyBuffer_Release(&delta);
  return result;
}

/* eapu_write(cells, index, change, noise, (r_wg, g_zero, sd, loss)): cells (k,), ascending, to weight plus change plus error. */
static PyObject *eapu_write(PyObject *self, PyObject *const *args, Py_ssize_t n_args) {
  (void)self;
  Py_ssize_t n;
  int64_t cells;
  Writing w;
  Py_buffer index, change, noise;
  PyObject *result = NULL;
  if (counted(n_args, 5, "eapu_write")) return NULL;
  const Segment *segments = segments_of(args[0], &n, &cells);
  if (!segments || !PyArg_ParseTuple(args[4], "ffff", &w.r_wg, &w.g_zero, &w.sd, &w.loss)) return NULL;
  if (PyObject_GetBuffer(args[1], &index, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT)) return NULL;
  Py_ssize_t k = index.len / (Py_ssize_t)sizeof(int64_t);
  const int64_t *of = index.buf;
  int wrong = !is_item(&index, 'l') || (k && (of[0] < 0 || of[k - 1] >= cells));
  for (Py_ssize_t j = 1; j < k && !wrong; j++) wrong = of[j] <= of[j - 1];
  if (wrong) {
    PyErr_SetString(PyExc_ValueError, "eapu_write: cells must be int64, ascending, of these parameters");
    goto release_index;
  }
  if (flat(args[2], &change, 0, 'f', k * (Py_ssize_t)sizeof(float), "change")) goto release_index;
  if (flat(args[3], &noise, 0, 'f', k * (Py_ssize_t)sizeof(float), "noise")) goto release_change;
  write_cells(segments, n, of, change.buf, noise.buf, k, w);
  result = none();
  PyBuffer_Release(&noise);
release_change:
  PyBuffer_Release(&change);
release_index:
  PyBuffer_Release(&index);
  return result;
}

static PyMethodDef methods[] = {
    {"frames", FAST(frames), "frames(constants, dof, q, out): forward kinematics, of every joint or of the tool alone."},
    {"panda", FAST(panda), "panda(constants, poses, free, q, valid): inverse kinematics."},
    {"srs", FAST(srs), "srs(constants, poses, free, q, valid): inverse kinematics."},
    {"ur", FAST(ur), "ur(constants, poses, free, q, valid): inverse kinematics."},
    {"eapu_finite", eapu_finite, METH_O, "eapu_finite(parameters): whether every gradient is."},
    {"eapu_step", FAST(eapu_step), "eapu_step(cells, others, threshold, key, index, change): a step of Adam and the choice."},
    {"eapu_choose", FAST(eapu_choose), "eapu_choose(delta, threshold, key, first, index, change): the choice alone."},
    {"eapu_write", FAST(eapu_write), "eapu_write(cells, index, change, noise, numbers): what one write does to cells."},
    {NULL, NULL, 0, NULL},
};

static int fill(PyObject *module) {
  return PyModule_AddFunctions(module, learning_methods) || PyModule_AddIntConstant(module, "ABI", KERNELS_ABI) ? -1 : 0;
}

static PyModuleDef_Slot slots[] = {{Py_mod_exec, fill}, {0, NULL}};
static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, .m_name = "_kernels", .m_doc = "Compiled kernels.", .m_methods = methods, .m_slots = slots};

PyMODINIT_FUNC PyInit__kernels(void) { return PyModuleDef_Init(&definition); }
