namespace MLNetMultimodal.Media.Text;

// What turns a text into ids without the tokens that stand around it: one for each family of tokenizers.
interface ITokenModel
{
    // Ids of the text; may stop after max of them.
    IReadOnlyList<int> Encode(string text, int max);

    // The text of tokens, special ones taken out.
    string Decode(IReadOnlyList<string> tokens);
}
