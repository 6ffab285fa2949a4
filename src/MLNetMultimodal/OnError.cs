namespace MLNetMultimodal;

/// <summary>What happens where a picture, a text or a sound cannot be read.</summary>
public enum OnError
{
    /// <summary>The row's value throws <see cref="InvalidDataException"/> when it is asked for; the message names row, column,
    /// file and reason. Rows before it are served.</summary>
    Throw,

    /// <summary>The row's value is missing: embeddings and scores are all NaN, labels are missing. Other rows and other inputs
    /// are untouched,
    /// and the number of missing values is reported as a warning in <c>MLContext.Log</c> at the end of the pass.</summary>
    Missing,
}
