// Matrices of 16 rows and columns with operands in single precision: a form of the interface
// `matrix_form`.

enable wgpu_cooperative_matrix;

// Rows and columns of a matrix.
const SIZE: u32 = 16u;

alias Operand = f32;
alias Left = coop_mat16x16<Operand, A>;
alias Right = coop_mat16x16<Operand, B>;
alias Sum = coop_mat16x16<f32, C>;
