/* Inverse kinematics of arms built like Universal Robots'; the reference is motion/ik/ur.py. */
#include "vectors.h"

#define ALIGNED 1e-9

typedef struct {
  const double *low, *high, *signs;
  Vector first, h, first_h, base;
  Vector wrist[3], plane[3]; /* rows: across, fifth, last; and joint 5's axis, h x it, h */
  double offset5, height;
  const double *shoulder, *upper, *fore, *hand;
  double upper_length, fore_length, bent;
  Vector turn_back[3]; /* columns */
  Vector to_meeting;
} Ur;

static Ur ur_of(const double *constants) {
  Ur arm = {.low = constants, .high = constants + UR_JOINTS, .signs = constants + 2 * UR_JOINTS};
  const double *next = constants + 2 * UR_JOINTS + 3;
  arm.first = vector(next), arm.h = vector(next + 3), arm.first_h = vector(next + 6), arm.base = vector(next + 9);
  next += 12;
  for (int k = 0; k < 3; k++) arm.wrist[k] = vector(next + 3 * k), arm.plane[k] = vector(next + 9 + 3 * k);
  next += 18;
  arm.offset5 = next[0], arm.height = next[1];
  arm.shoulder = next + 2, arm.upper = next + 4, arm.fore = next + 6, arm.hand = next + 8;
  next += 10;
  for (int k = 0; k < 3; k++) arm.turn_back[k] = (Vector){next[k], next[3 + k], next[6 + k]};
  arm.to_meeting = vector(next + 9);
  arm.upper_length = hypot(arm.upper[0], arm.upper[1]);
  arm.fore_length = hypot(arm.fore[0], arm.fore[1]);
  arm.bent = atan2(arm.fore[1], arm.fore[0]) - atan2(arm.upper[1], arm.upper[0]);
  return arm;
}

/* A vector turned about a unit axis. */
static Vector about(Vector v, Vector axis, double c, double s) {
  Vector fixed = times(axis, dot(v, axis));
  return plus(plus(fixed, times(minus(v, fixed), c)), times(cross(axis, v), s));
}

/* q2 to q4 of both elbows: the wrist's point in the plane, all three turning by phi together. */
static void triangle(const Ur *arm, double along_x, double along_y, double phi, const double *q1, double q5, double q6,
                     int reachable, double *q, uint8_t *valid) {
  double c = cos(phi), s = sin(phi);
  double x = along_x - (c * arm->hand[0] - s * arm->hand[1]), y = along_y - (s * arm->hand[0] + c * arm->hand[1]);
  double upper = arm->upper_length, fore = arm->fore_length;
  double cosine = (x * x + y * y - upper * upper - fore * fore) / (2 * upper * fore);
  reachable &= fabs(cosine) <= 1 + COSINE_SLACK;
  double angle = acos(clipped(cosine, -1.0, 1.0));
  for (int k = 0; k < 2; k++, q += UR_JOINTS) {
    double elbow = (k ? -angle : angle) - arm->bent, ce = cos(elbow), se = sin(elbow);
    double tip_x = arm->upper[0] + ce * arm->fore[0] - se * arm->fore[1];
    double tip_y = arm->upper[1] + se * arm->fore[0] + ce * arm->fore[1];
    double first = atan2(tip_x * y - tip_y * x, tip_x * x + tip_y * y);
    q[0] = *q1, q[4] = q5, q[5] = q6;
    q[1] = arm->signs[0] * first;
    q[2] = arm->signs[1] * elbow;
    q[3] = arm->signs[2] * (phi - first - elbow);
    valid[k] = (uint8_t)(wrap_into_limits(q, arm->low, arm->high, UR_JOINTS) & reachable);
  }
}

void ur_solve(const double *constants, Poses poses, Numbers free, ptrdiff_t n, double *q, uint8_t *valid) {
  (void)free; /* nothing to choose */
  const Ur arm = ur_of(constants);
  for (ptrdiff_t i = 0; i < n; i++) {
    Frame tool = frame_at(poses, i);
    Frame turn = {turned(&tool, arm.turn_back[0]), turned(&tool, arm.turn_back[1]), turned(&tool, arm.turn_back[2]), {0, 0, 0}};
    Vector reach = minus(plus(turned(&tool, arm.to_meeting), tool.p), arm.base);
    double a = dot(reach, arm.h), b = dot(reach, arm.first_h), far = hypot(a, b);
    double cosine1 = arm.height / (far < 1e-300 ? 1e-300 : far);
    int reachable = fabs(cosine1) <= 1 + COSINE_SLACK;
    double angle1 = acos(clipped(cosine1, -1.0, 1.0)), middle = atan2(b, a);
    Vector wrist[3]; /* its axes in the world */
    for (int k = 0; k < 3; k++) wrist[k] = turned(&turn, arm.wrist[k]);
    for (int k1 = 0; k1 < 2; k1++) {
      double q1 = k1 ? middle - angle1 : middle + angle1, c1 = cos(q1), s1 = sin(q1);
      Vector rows[3], seen;
      for (int k = 0; k < 3; k++) rows[k] = about(arm.plane[k], arm.first, c1, s1);
      seen = (Vector){dot(wrist[0], rows[2]), dot(wrist[1], rows[2]), dot(wrist[2], rows[2])};
      double sine = hypot(seen.x, seen.y), beta = atan2(sine, seen.z);
      double along_x = dot(rows[0], reach) + arm.shoulder[0], along_y = dot(rows[1], reach) + arm.shoulder[1];
      double folded = 0.0;
      if (sine < ALIGNED) { /* q6 is arbitrary: the wrist folded towards the shoulder */
        double phi = atan2(along_y, along_x) - atan2(arm.hand[1], arm.hand[0]);
        Vector side = plus(times(rows[0], cos(phi)), times(rows[1], sin(phi)));
        folded = atan2(dot(wrist[0], side), dot(wrist[1], side));
      }
      for (int k5 = 0; k5 < 2; k5++, q += 2 * UR_JOINTS, valid += 2) {
        double sign = k5 ? -1.0 : 1.0, q5 = arm.offset5 + sign * beta;
        double q6 = sine < ALIGNED ? folded : -atan2(-sign * seen.y, -sign * seen.x);
        Vector side = plus(times(wrist[1], cos(q6)), times(wrist[0], sin(q6)));
        double phi = atan2(dot(side, rows[1]), dot(side, rows[0]));
        triangle(&arm, along_x, along_y, phi, &q1, q5, q6, reachable, q, valid);
      }
    }
  }
}
