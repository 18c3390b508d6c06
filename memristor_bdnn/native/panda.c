/* Inverse kinematics of the Panda's joint arrangement; the reference is motion/ik/panda.py. */
#include "vectors.h"

#define STRAIGHT 1e-11

typedef struct {
  const double *low, *high;
  Vector shoulder;
  double upper, elbow, forearm, wrist, fixed, upper2, forearm2;
  Frame from_tool;
} Panda;

static Panda panda_of(const double *constants) {
  Panda arm = {.low = constants, .high = constants + PANDA_JOINTS};
  const double *next = constants + 2 * PANDA_JOINTS;
  arm.shoulder = vector(next);
  arm.upper = next[3], arm.elbow = next[4], arm.forearm = next[5], arm.wrist = next[6];
  arm.from_tool = frame_of(next + 7);
  arm.fixed = atan2(arm.upper, arm.elbow) + atan2(arm.forearm, arm.elbow);
  arm.upper2 = arm.upper * arm.upper + arm.elbow * arm.elbow;
  arm.forearm2 = arm.forearm * arm.forearm + arm.elbow * arm.elbow;
  return arm;
}

/* The two solutions of a wrist and an elbow: q1 to q3 are the ZYZ angles of what is left. */
static void finish(const Panda *arm, const Frame *f6, Vector seen, const double *q4_to_q7, double ux, double c4, double s4,
                   double *q, uint8_t *valid, int reachable) {
  double q6 = q4_to_q7[2], c6 = cos(q6), s6 = sin(q6), side = ux < 0.0 ? -1.0 : 1.0;
  double q5 = atan2(side * seen.z, side * (seen.x * c6 - seen.y * s6)), c5 = cos(q5), s5 = sin(q5);
  /* back by q6, link 6 in link 5, back by q5, and so to link 3 */
  Vector x = minus(times(f6->x, c6), times(f6->y, s6)), z = plus(times(f6->x, s6), times(f6->y, c6));
  Vector y = times(f6->z, -1.0);
  Vector x4 = minus(times(x, c5), times(y, s5)), z4 = plus(times(x, s5), times(y, c5));
  Vector y4 = z;
  z4 = times(z4, -1.0);
  /* columns are now (x4, y4, z4) of link 4's frame: back by q4 */
  Vector x3 = minus(times(x4, c4), times(y4, s4)), z3 = plus(times(x4, s4), times(y4, c4));
  Vector y3 = times(z4, -1.0);
  zyz(x3, y3, z3, STRAIGHT, q);
  zyz_other(q, q + PANDA_JOINTS);
  for (int k = 0; k < 2; k++, q += PANDA_JOINTS) {
    q[3] = q4_to_q7[0], q[4] = q5, q[5] = q6, q[6] = q4_to_q7[3];
    valid[k] = (uint8_t)(wrap_into_limits(q, arm->low, arm->high, PANDA_JOINTS) & reachable);
  }
}

void panda_solve(const double *constants, Poses poses, Numbers free, ptrdiff_t n, double *q, uint8_t *valid) {
  const Panda arm = panda_of(constants);
  for (ptrdiff_t i = 0; i < n; i++) {
    Frame tool = frame_at(poses, i), f7 = after(&tool, &arm.from_tool);
    double q7 = at(free.data + i * free.step), c7 = cos(q7), s7 = sin(q7);
    Frame f6 = {minus(times(f7.x, c7), times(f7.y, s7)), times(f7.z, -1.0), plus(times(f7.x, s7), times(f7.y, c7)), {0, 0, 0}};
    Vector to_shoulder = plus(minus(arm.shoulder, f7.p), times(f6.x, arm.wrist));
    Vector seen = {dot(to_shoulder, f6.x), dot(to_shoulder, f6.y), dot(to_shoulder, f6.z)};
    double squared = dot(to_shoulder, to_shoulder);
    double cosine4 = (arm.upper2 + arm.forearm2 - squared) / (2 * sqrt(arm.upper2 * arm.forearm2));
    int triangle = fabs(cosine4) <= 1 + COSINE_SLACK;
    double angle4 = acos(clipped(cosine4, -1.0, 1.0));
    double reach = hypot(seen.x, seen.y), middle = atan2(seen.x, seen.y);
    for (int k4 = 0; k4 < 2; k4++) {
      double q4 = k4 ? arm.fixed - angle4 : arm.fixed + angle4, c4 = cos(q4), s4 = sin(q4);
      double ux = arm.elbow - arm.elbow * c4 - arm.upper * s4;
      double uy = -arm.forearm + arm.elbow * s4 - arm.upper * c4;
      double cosine6 = uy / (reach < 1e-300 ? 1e-300 : reach);
      int reachable = triangle & (fabs(cosine6) <= 1 + COSINE_SLACK);
      double angle6 = acos(clipped(cosine6, -1.0, 1.0));
      for (int k6 = 0; k6 < 2; k6++, q += 2 * PANDA_JOINTS, valid += 2) {
        double others[4] = {q4, 0.0, k6 ? middle - angle6 : middle + angle6, q7};
        finish(&arm, &f6, seen, others, ux, c4, s4, q, valid, reachable);
      }
    }
  }
}
