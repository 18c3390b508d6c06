/* memristor_bdnn.native._kernels: the kernels for Python, over any arrays with the buffer protocol.
 *
 * Arrays are checked (type, shape, order) before a kernel runs: a wrong one is a TypeError or ValueError and never a
 * wrong address.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <string.h>

#include "kernels.h"

static PyObject *none(void) {
  Py_INCREF(Py_None);
  return Py_None;
}

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

/* An array without gaps of so many bytes, of this type of item. */
static int flat(PyObject *object, Py_buffer *view, int writable, char item, Py_ssize_t bytes, const char *name) {
  if (PyObject_GetBuffer(object, view, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT | (writable ? PyBUF_WRITABLE : 0))) return -1;
  if (view->len == bytes && view->format && view->format[0] == item && !view->format[1]) return 0;
  PyErr_Format(PyExc_ValueError, "%s: %zd bytes of '%s' where %zd of '%c' are needed", name, view->len,
               view->format ? view->format : "B", bytes, item);
  PyBuffer_Release(view);
  return -1;
}

static int counted(Py_ssize_t given, Py_ssize_t wanted, const char *function) {
  if (given == wanted) return 0;
  PyErr_Format(PyExc_TypeError, "%s: %zd arguments, expected %zd", function, given, wanted);
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

#define FAST(function) (PyCFunction)(void (*)(void)) function, METH_FASTCALL
static PyMethodDef methods[] = {
    {"frames", FAST(frames), "frames(constants, dof, q, out): forward kinematics, of every joint or of the tool alone."},
    {"panda", FAST(panda), "panda(constants, poses, free, q, valid): inverse kinematics."},
    {"srs", FAST(srs), "srs(constants, poses, free, q, valid): inverse kinematics."},
    {"ur", FAST(ur), "ur(constants, poses, free, q, valid): inverse kinematics."},
    {NULL, NULL, 0, NULL},
};

static int fill(PyObject *module) { return PyModule_AddIntConstant(module, "ABI", KERNELS_ABI); }

static PyModuleDef_Slot slots[] = {{Py_mod_exec, fill}, {0, NULL}};
static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, .m_name = "_kernels", .m_doc = "Compiled kernels.", .m_methods = methods, .m_slots = slots};

PyMODINIT_FUNC PyInit__kernels(void) { return PyModuleDef_Init(&definition); }
