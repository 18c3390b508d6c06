/* Arguments from Python: arrays with the buffer protocol, checked before a kernel runs. */
#ifndef MEMRISTOR_BDNN_ARRAYS_H
#define MEMRISTOR_BDNN_ARRAYS_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <string.h>

static inline PyObject *none(void) {
  Py_INCREF(Py_None);
  return Py_None;
}

/* Whether items are of a type: d, f, I, ?, or l and L, which are any integers of 64 bits. */
static inline int is_item(const Py_buffer *view, char item) {
  const char *format = view->format;
  if (!format || !format[0] || format[1]) return 0;
  if (item == 'L') return view->itemsize == 8 && (format[0] == 'L' || format[0] == 'Q');
  return item == 'l' ? view->itemsize == 8 && (format[0] == 'l' || format[0] == 'q') : format[0] == item;
}

/* An array without gaps of so many bytes, of this type of item. */
static inline int flat(PyObject *object, Py_buffer *view, int writable, char item, Py_ssize_t bytes, const char *name) {
  if (PyObject_GetBuffer(object, view, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT | (writable ? PyBUF_WRITABLE : 0))) return -1;
  if (view->len == bytes && is_item(view, item)) return 0;
  PyErr_Format(PyExc_ValueError, "%s: %zd bytes of '%s' where %zd of '%c' are needed", name, view->len,
               view->format ? view->format : "B", bytes, item);
  PyBuffer_Release(view);
  return -1;
}

static inline int counted(Py_ssize_t given, Py_ssize_t wanted, const char *function) {
  if (given == wanted) return 0;
  PyErr_Format(PyExc_TypeError, "%s: %zd arguments, expected %zd", function, given, wanted);
  return -1;
}

#define FAST(function) (PyCFunction)(void (*)(void)) function, METH_FASTCALL

/* learning.c */
extern PyMethodDef learning_methods[];

#endif
