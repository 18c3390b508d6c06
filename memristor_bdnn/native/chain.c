/* Forward kinematics; the reference is motion/kinematics.py. */
#include "vectors.h"

/* Rotation about a unit axis (Rodrigues' formula), by its columns. */
static Frame rotation(Vector a, double angle) {
  double s = sin(angle), v = 1 - cos(angle);
  /* the square of the cross product's matrix */
  double xx = -(a.y * a.y + a.z * a.z), yy = -(a.x * a.x + a.z * a.z), zz = -(a.x * a.x + a.y * a.y);
  double xy = a.x * a.y, xz = a.x * a.z, yz = a.y * a.z;
  return (Frame){
      {1 + v * xx, s * a.z + v * xy, -s * a.y + v * xz},
      {-s * a.z + v * xy, 1 + v * yy, s * a.x + v * yz},
      {s * a.y + v * xz, -s * a.x + v * yz, 1 + v * zz},
      {0, 0, 0},
  };
}

static void put(double *out, const Frame *f) {
  const double m[16] = {f->x.x, f->y.x, f->z.x, f->p.x, f->x.y, f->y.y, f->z.y, f->p.y,
                        f->x.z, f->y.z, f->z.z, f->p.z, 0,      0,      0,      1};
  memcpy(out, m, sizeof m);
}

void chain_frames(const Chain *chain, const double *q, ptrdiff_t n, int tool_only, double *out) {
  Frame origins[MAX_JOINTS];
  for (int k = 0; k < chain->dof; k++) origins[k] = frame_of(chain->origins + 16 * k);
  const Frame tool = frame_of(chain->tool);
  const double *axes = chain->axes;
  for (ptrdiff_t i = 0; i < n; i++, q += chain->dof) {
    Frame f = {{1, 0, 0}, {0, 1, 0}, {0, 0, 1}, {0, 0, 0}};
    for (int k = 0; k < chain->dof; k++) {
      f = after(&f, &origins[k]);
      if (axes[3 * k + 2] == 1.0) { /* about z: two columns turn, nothing else */
        double c = cos(q[k]), s = sin(q[k]);
        Vector x = f.x, y = f.y;
        f.x = plus(times(x, c), times(y, s));
        f.y = minus(times(y, c), times(x, s));
      } else {
        Frame turn = rotation(vector(axes + 3 * k), q[k]);
        f = (Frame){turned(&f, turn.x), turned(&f, turn.y), turned(&f, turn.z), f.p};
      }
      if (!tool_only) put(out, &f), out += 16;
    }
    f = after(&f, &tool);
    put(out, &f), out += 16;
  }
}
